"""The errors of rows, wherever they are. Each noun has subclasses of the first two."""

from kpi_shared.errors import InvalidRequestError, ProblemError


class RowNotFoundError(ProblemError):
    """The base of a noun's own 404."""

    status = 404

    def __init__(self) -> None:
        # A cache may store a 404 (RFC 9110, 15.5.5), and a caller who may see the row must not get another's response.
        super().__init__(headers={"Cache-Control": "no-cache", "Vary": "Authorization"})


class ValueTakenError(ProblemError):
    """The base of a noun's own 409, where a value must be unique and another row has it."""

    status = 409


class UnknownReferenceError(InvalidRequestError):
    """A field names a row of another table that does not exist."""

    def __init__(self, field: str) -> None:
        super().__init__(
            f"{field} refers to something that does not exist",
            errors=[
                {
                    "pointer": f"#/body/{field}",
                    "detail": "refers to something that does not exist",
                    "type": "unknown_reference",
                }
            ],
        )
