"""``kpi make notifications``: it passes its own tests and ``make check``, and is served, and no line is edited."""

import tempfile
import time
from pathlib import Path

import httpx
import pytest
from generator_support import Clone, sign_in

pytestmark = pytest.mark.e2e
# As long as the parts may take to start again with the new noun.
PATIENCE = 120.0


@pytest.mark.parametrize("service", ["content", "billing"])
def test_notifications_are_made_checked_served_and_taken_back(service: str, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--generator"):
        pytest.skip("with --generator only: the tests of the command look at the files as texts")
    with tempfile.TemporaryDirectory(prefix="kpi-notifications-", ignore_cleanup_errors=True) as folder:
        clone = Clone.make(Path(folder).resolve() / "clone")
        if service != "content":
            clone.kpi("make", "service", service)
            clone.run("make", "-s", "install")
            clone.commit(f"Add {service}")
        with clone.running() as client:
            clone.kpi("db", "seed", "--count", "3")
            reader = sign_in(client, "seed_user_2")
            clone.kpi("make", "notifications", "-s", service)
            use(client, reader)
        tests = f"services/{service}/tests"
        clone.check(service, f"{tests}/notifications", *clone_tests(clone, tests), is_whole=True)
        assert "everything is there already" in clone.kpi("make", "notifications", "-s", service)
        clone.kpi("make", "undo")
        assert clone.changes == ""


def clone_tests(clone: Clone, tests: str) -> list[str]:
    """Those that look at all operations, examples and tables of a service, where it has them."""
    names = ("test_surface.py", "test_examples.py", "test_housekeeping.py", "seeding")
    return [f"{tests}/{name}" for name in names if (clone.root / tests / name).exists()]


def use(client: httpx.Client, reader: dict[str, str]) -> None:
    wait_for_list(client, reader)
    assert client.get("/notifications").status_code == 401
    listed = client.get("/notifications", params={"unread": "true"}, headers=reader)
    assert listed.json() == {"items": [], "next": None}
    assert client.get("/notifications/unread-count", headers=reader).json() == {"unread": 0}
    assert client.post("/notifications/read", headers=reader).status_code == 204
    missing = client.post("/notifications/1/read", headers=reader)
    assert (missing.status_code, missing.json()["type"]) == (404, "notification-not-found")


def wait_for_list(client: httpx.Client, reader: dict[str, str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            status = client.get("/notifications", headers=reader).status_code
        except httpx.TransportError:
            status = 0
        if status == 200:
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
