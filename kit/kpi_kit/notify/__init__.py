"""Notifications over several channels."""
