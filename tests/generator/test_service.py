"""``kpi make service`` as a user of a stack that has data runs it: nothing is lost, and no line is edited."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from generator_mixes import PRODUCT
from generator_support import Clone, sign_in

pytestmark = pytest.mark.e2e
NAME = "billing"


@pytest.fixture
def clone(request: pytest.FixtureRequest) -> Iterator[Clone]:
    if not request.config.getoption("--generator"):
        pytest.skip("with --generator only: the plan is tested in cli/tests/generate/test_service.py")
    with tempfile.TemporaryDirectory(prefix="kpi-service-", ignore_cleanup_errors=True) as name:
        yield Clone.make(Path(name).resolve() / "clone")


def test_a_service_joins_a_stack_that_has_data_and_is_taken_back(clone: Clone) -> None:
    with clone.running() as client:
        clone.kpi("db", "seed", "--count", "3")
        writer = sign_in(client, PRODUCT.writer)
        made = client.post("/posts", json={"title": "Before", "content": ""}, headers=writer)
        assert made.status_code == 201, made.text
    assert "made service billing" in clone.kpi("make", "service", NAME)
    assert "everything is there already" in clone.kpi("make", "service", NAME)
    clone.run("make", "-s", "install")
    with clone.running() as client:
        assert client.get(f"/posts/{made.json()['id']}").json()["title"] == "Before"
        status = dict(line.split("=", 1) for line in clone.kpi("status", "-o", "env").splitlines())
        address = next(value for name, value in status.items() if name.upper().endswith("BILLING_URL")).strip("'\"")
        ready = httpx.get(f"{address}/health/ready").json()
        assert ready == {"status": "ready", "checks": {"database": "ok", "feed": "ok"}}
    clone.check(NAME, f"services/{NAME}/tests", is_whole=True)
    clone.kpi("make", "undo")
    assert clone.changes == ""
