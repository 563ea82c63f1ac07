"""The content service: posts, the votes on them and who wrote them."""

__version__ = "0.1.0"
