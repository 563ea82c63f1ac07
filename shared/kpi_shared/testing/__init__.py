"""The test kit: a real PostgreSQL with one migrated database per test worker; each test is rolled back."""
