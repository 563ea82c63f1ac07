"""Fixtures that the tests of every part share."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--generator", action="store_true", help="run the generator's whole matrix, some minutes long")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Use one asyncio loop for the whole run, so that an application can start once for many tests."""
    return "asyncio"
