"""What encryption refuses. No message quotes a key, a value or a part of one."""

from kpi_kit.errors import KitError


class CryptError(KitError):
    """The base of the errors of encryption."""


class InvalidKeyError(CryptError, ValueError):
    """A key, its id or a secret does not have the form that it needs."""


class CryptValueError(CryptError, ValueError):
    """The value cannot be written as JSON."""

    def __init__(self) -> None:
        super().__init__("the value to encrypt cannot be written as JSON")


class InvalidCiphertextError(CryptError, ValueError):
    """The value cannot be decrypted.

    It was modified, was encrypted with a key that is not in the ring or with other associated data, or is no encrypted
    value. Which of these is the case would help those who try values out, so it is not said.
    """

    def __init__(self) -> None:
        super().__init__("the encrypted value is not valid")
