"""What is wrong with a request before it is sent. It is no HttpError: the other side has no part in it."""

from kpi_kit.errors import KitError


class HttpValueError(KitError, ValueError):
    """The method, path, parameters, headers or body are none that can be sent. The text quotes no value of a header."""
