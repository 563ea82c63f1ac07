"""The values in the examples of the API document. A test sends each example."""

from typing import Any

USERNAME = "anna"
EMAIL = "anna@example.com"
NEW_EMAIL = "anna.new@example.com"
PASSWORD = "a quiet red bicycle"  # noqa: S105 an example
NEW_PASSWORD = "a loud green tricycle"  # noqa: S105 as above
CODE = "the-code-from-the-link-in-the-e-mail"


def with_examples(*examples: dict[str, Any]) -> dict[str, Any]:
    """A ``json_schema_extra``; interactive API pages fill in the first example."""
    return {"examples": list(examples)}
