"""What can be wrong with an e-mail address."""

from kpi_shared.errors import InvalidRequestError

from kpi_auth.codes.errors import InvalidCodeError


class AddressHeldError(InvalidCodeError):
    """Told to a client that has shown to read the address, so that it gives nothing away."""

    def __init__(self) -> None:
        super().__init__("Another account has this e-mail address by now, so this code is no longer valid")


class SameEmailError(InvalidRequestError):
    def __init__(self) -> None:
        error = {"pointer": "#/body/new_email", "detail": "is the address that the account has", "type": "same_email"}
        super().__init__(f"{error['pointer']}: {error['detail']}", errors=[error])
