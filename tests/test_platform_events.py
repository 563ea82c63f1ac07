"""A service of its own gets on its bus what happens in auth, which is another process."""

import asyncio
import secrets
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from kpi_kit.events import EventBus
from kpi_shared.app import build_service
from kpi_shared.feed.dispatching import MemoryPosition, dispatching_platform_events
from kpi_shared.feed.follower import revocation_feed
from kpi_shared.feed.platform_events import PLATFORM_EVENTS, PlatformEvent
from kpi_shared.feed.settings import FollowerSettings
from kpi_shared.parts import Part
from kpi_shared.testing.client import running
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import free_port, start_part
from stack import join

pytestmark = pytest.mark.e2e


class ShopSettings(FollowerSettings):
    part: ClassVar[Part] = Part("shop", "kpi_shop", 8003)


async def test_what_happens_in_auth_reaches_the_listeners_of_a_service(
    worker: str, secret_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, key = create_migrated_database("kpi_auth", f"platform_events_{worker}"), secrets.token_hex(32)
    common = {"DATABASE_URL": database, "PASETO_SECRET_KEY": secret_key, "FEED_KEY": key}
    port = free_port()
    heard: list[PlatformEvent] = []

    async def hear(event: PlatformEvent) -> None:
        heard.append(event)

    def use_auth(address: str) -> tuple[int, str]:
        with httpx.Client(base_url=address, timeout=30) as client:
            person = join(client, "")
            assert client.post("/auth/logout", headers=person.headers).status_code == 204
            return person.id, person.username

    internal = {"INTERNAL_PORT": str(port), "INTERNAL_KEY": secrets.token_hex(32)}
    with start_part("kpi_auth", {**common, **internal}, log=tmp_path / "auth.log") as address:
        for name, value in {**common, "AUTH_INTERNAL_URL": f"http://127.0.0.1:{port}"}.items():
            monkeypatch.setenv(name, value)
        # It reads nothing from its database, so auth's serves.
        app = build_service(
            ShopSettings.load(), title="Shop", version="1", routers=[], tags={}, resources=[revocation_feed]
        )
        position = MemoryPosition()
        await position.store(0)
        async with (
            running(app),
            EventBus.from_url("memory://", events=PLATFORM_EVENTS) as bus,
            dispatching_platform_events(app, bus, position=position),
        ):
            bus.listen("account.created", hear)
            bus.listen("session.ended", hear)
            account, username = await asyncio.to_thread(use_auth, address)
            async with asyncio.timeout(60):
                while len(heard) < 2:  # noqa: ASYNC110 another process decides
                    await asyncio.sleep(0.05)
    assert [(event.event_name, event.account_id) for event in heard] == [
        ("account.created", account),
        ("session.ended", account),
    ]
    assert heard[0].model_dump()["data"]["username"] == username
