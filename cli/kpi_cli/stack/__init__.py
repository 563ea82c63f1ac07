"""What starts, supervises and describes the local stack of this checkout."""
