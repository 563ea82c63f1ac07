"""Why the accounts are not read."""


class RebuildTakenError(Exception):
    """Another rebuild has begun meanwhile, and reads all accounts."""

    def __init__(self) -> None:
        super().__init__("another rebuild has begun, which reads all accounts")
