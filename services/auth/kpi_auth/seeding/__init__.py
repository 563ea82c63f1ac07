"""Made-up accounts for development."""
