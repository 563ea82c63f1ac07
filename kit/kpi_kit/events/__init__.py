"""Events within a service and between services."""
