"""The content service: posts, their authors and their votes."""

__version__ = "0.1.0"
