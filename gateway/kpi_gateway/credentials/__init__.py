"""API keys: exchanged with auth for short tokens, which are all that the services see."""
