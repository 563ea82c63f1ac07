"""Why nothing can be seeded: sentences for those who run the command."""


class SeedingError(Exception):
    """The message is one sentence."""
