"""Errors of the libraries of the kit that no endpoint handles."""

import httpx
from fastapi import FastAPI
from kpi_kit.errors import DriverUnavailableError
from kpi_shared.app import install_library_handlers
from kpi_shared.testing.callers import assert_problem


async def test_a_library_that_cannot_handle_a_call_now_is_a_503_without_its_words() -> None:
    app = FastAPI()
    install_library_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise DriverUnavailableError("the server behind it did not respond")

    # An error that is not handled would be raised here.
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        response = await client.get("/")
    assert_problem(response, 503, "unavailable")
    assert response.headers["Retry-After"] == "1"
    assert "did not respond" not in response.text
