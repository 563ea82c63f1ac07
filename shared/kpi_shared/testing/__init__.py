"""The test kit: a real PostgreSQL, one migrated database per test worker, each test rolled back."""
