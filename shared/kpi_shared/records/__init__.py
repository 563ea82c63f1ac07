"""What nouns share whose rows are created, listed, read, changed and deleted one by one (docs/adr/0053-records.md)."""
