"""The HTTP/1.1 server of every part, and the command line that starts it."""
