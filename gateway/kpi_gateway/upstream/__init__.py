"""The services behind the gateway: the HTTP/1.1 client that reaches them, and the contract that it fulfils."""
