"""Made-up posts, votes and conversations for development."""
