"""The examples of request bodies in the API document of a service, sent one after another."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from kpi_shared.testing.rights import read_rights

JSON = "application/json"


@dataclass(frozen=True)
class Operation:
    """An operation whose body is JSON, with the resolved schema of the body."""

    method: str
    path: str
    schema: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def examples(self) -> list[dict[str, Any]]:
        examples: list[dict[str, Any]] = self.schema["examples"]
        return examples

    @property
    def defaults(self) -> dict[str, Any]:
        return {name: field["default"] for name, field in self.schema["properties"].items() if "default" in field}


@dataclass(frozen=True)
class Examples:
    """Sends bodies. ``ids`` are those of rows by the parameters of paths, such as ``post_id``.

    What is made by ``POST /things`` is added to them as ``thing_id``, so that ``PUT /things/{thing_id}`` finds it.
    """

    client: httpx.AsyncClient
    document: dict[str, Any]
    ids: dict[str, int]
    headers: dict[str, str]
    admin_headers: dict[str, str]

    def operations(self) -> Iterator[Operation]:
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                content = operation.get("requestBody", {}).get("content", {})
                if JSON in content:
                    yield Operation(method.upper(), path, self._resolve(content[JSON]["schema"]))

    async def send(self, operation: Operation, body: dict[str, Any]) -> None:
        """Send a body as a caller with the right that the operation needs; AssertionError if it is refused."""
        address = operation.path.format_map(self.ids)
        headers = self.headers_for(str(operation))
        response = await self.client.request(operation.method, address, json=body, headers=headers)
        assert response.is_success, (str(operation), body, response.text)
        for name in self._names_of_rows(operation.path):
            self.ids.setdefault(name, int(response.headers["Location"].rpartition("/")[2]))

    def headers_for(self, operation: str) -> dict[str, str]:
        """Those of an admin, if the operation is for admins only."""
        return self.admin_headers if read_rights().get(operation) == "admin" else self.headers

    def _names_of_rows(self, path: str) -> list[str]:
        """The parameter of the paths of the rows of a list: ``post_id`` for ``/posts``."""
        own = [other.removeprefix(f"{path}/{{") for other in self.document["paths"] if other.startswith(f"{path}/{{")]
        return [name.removesuffix("}") for name in own if name.endswith("}") and "/" not in name]

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
