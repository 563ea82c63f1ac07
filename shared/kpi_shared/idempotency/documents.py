"""The OpenAPI description of a route that creates."""

from typing import Any

# The header is read from the request itself: a declared parameter would cost every request that does not send it.
IDEMPOTENCY_KEY: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "pattern": r'^(?:[!#-~]{1,255}|"[ !#-\[\]-~]{1,255}")$'},
            "description": "Makes a retry safe: a request that is repeated with its key within 24 hours is not"
            " processed again, and the response is that of the first. Use a new random key, such as a UUID, for each"
            " resource",
        }
    ]
}
