"""Reading the feed of events as other parts do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class FeedClient:
    """Speaks to the internal port of a process."""

    port: int
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/internal/feed/{path}"

    def get(self, path: str) -> Any:
        response = httpx.get(self.url(path), headers=self.headers, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()

    @contextmanager
    def stream(self, after: int) -> Iterator[Iterator[dict[str, Any]]]:
        """The lines of a stream. A silence of 10 s is an error: it has a heartbeat every 200 ms."""
        request = httpx.stream("GET", self.url(f"events?after={after}"), headers=self.headers, timeout=10)
        with request as response:
            if response.status_code != 200:
                response.read()
                raise AssertionError(response.text)
            yield map(json.loads, response.iter_lines())


def events_of(lines: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The next events of a stream, without its heartbeats."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        line = next(lines)
        if not line.get("heartbeat"):
            found.append(line)
    return found
