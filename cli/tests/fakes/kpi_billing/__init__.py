"""A stand-in for the part of this name."""
