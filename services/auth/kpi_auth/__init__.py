"""The auth service: users, passwords and the tokens that the other parts trust."""

__version__ = "0.1.0"
