"""Files of rows: what is uploaded, stored beside the database, and read again (docs/adr/0052-fields-and-files.md)."""
