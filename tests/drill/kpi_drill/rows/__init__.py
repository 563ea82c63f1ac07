"""One fault in each function, with its bar."""
