"""A running platform for the end-to-end tests: local processes, or the stack at KPI_GATEWAY_URL."""

import os
from collections.abc import Iterator

import httpx
import pytest
from sent_mails import Mailbox
from stack import Person, Stack, join, run_stack, service_settings


@pytest.fixture(scope="session")
def stack(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    given = os.environ.get("KPI_GATEWAY_URL")
    if given:
        yield Stack(given)
        return
    with run_stack(service_settings(worker, secret_key), tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.gateway, timeout=30) as client:
        yield client


@pytest.fixture
def mailbox(stack: Stack) -> Mailbox:
    return Mailbox(stack.mails)


@pytest.fixture
def person(client: httpx.Client) -> Person:
    return join(client)
