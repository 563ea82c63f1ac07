"""The key ring of a running part: read again when it changes, and reported to auth."""
