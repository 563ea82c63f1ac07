"""HTTP semantics that the applications share: layers, conditional requests, compression, OpenAPI."""
