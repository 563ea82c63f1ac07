"""Dependencies of FastAPI for the libraries of the kit."""
