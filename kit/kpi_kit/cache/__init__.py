"""A cache."""
