"""Errors about e-mail addresses."""

from kpi_shared.errors import InvalidRequestError

from kpi_auth.codes.errors import InvalidCodeError


class AddressHeldError(InvalidCodeError):
    """The client has proved that it reads the address, so this discloses nothing to others."""

    def __init__(self) -> None:
        super().__init__("Another account has verified this e-mail address, so this code is no longer valid")


class SameEmailError(InvalidRequestError):
    def __init__(self) -> None:
        error = {"pointer": "#/body/new_email", "detail": "is the account's address already", "type": "same_email"}
        super().__init__(f"{error['pointer']}: {error['detail']}", errors=[error])
