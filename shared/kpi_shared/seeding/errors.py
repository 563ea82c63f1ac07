"""Why nothing can be seeded: sentences for whoever runs the command."""


class SeedingError(Exception):
    """The message is one sentence."""
