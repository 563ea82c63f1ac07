"""Hashes of passwords."""
