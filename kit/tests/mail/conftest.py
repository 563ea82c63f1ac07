"""Fixtures of the tests of mails."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


# One for all mailers of these tests: to read the library's files takes half a second each time.
_find_session = cache(boto3.Session)


@pytest.fixture(autouse=True)
def boto_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """In these tests alone: others have credentials of their own."""
    monkeypatch.setattr(boto3, "Session", _find_session)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("templates")
    (folder / "hello.txt").write_text("{% block subject %}Hello {{ name }}{% endblock %}\n\nDear {{ name }}\n")
    (folder / "hello.html").write_text("<p>Dear <b>{{ name }}</b></p>\n")
    return folder
