"""The gateway: the one public address of the platform."""

__version__ = "0.1.0"
