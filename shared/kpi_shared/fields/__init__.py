"""The types of fields: each as pydantic reads and documents it, with the same rules as constraints of PostgreSQL."""
