"""The benchmark: one module per table, a harness they share, and the document written from their results."""
