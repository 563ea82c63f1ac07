"""Conversations followed through the gateway, behind which two processes of content run, also in a browser."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from kpi_shared.testing.browser import CHROMIUM, FLAGS, needs_browser
from kpi_shared.testing.process import PartProcess, launch_part, start_part
from live_support import Reading, follow, wait_until
from playwright.async_api import Page, async_playwright
from stack import Person, feed_settings, join, service_settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests stop parts of their own"),
]

DOCUMENT = Path(__file__).parent.parent / "docs" / "conversations.md"


class House:
    """Auth, two processes of content that can be replaced, and the gateway."""

    def __init__(self, stack: ExitStack, settings: dict[str, dict[str, str]], folder: Path) -> None:
        feed = feed_settings(settings)
        auth = stack.enter_context(
            start_part("kpi_auth", {**feed["auth"], **settings["auth"]}, log=folder / "auth.log")
        )
        self._folder = folder
        self._content_settings = {**feed["content"], **settings["content"]}
        self._stacks = [stack.enter_context(ExitStack()) for _ in range(2)]
        self._contents = [self._start(number) for number in range(2)]
        addresses = ",".join(each.address for each in self._contents)
        gateway = {"RATE_LIMIT_ENABLED": "false", "AUTH_URL": auth, "CONTENT_URL": addresses}
        self.gateway = stack.enter_context(start_part("kpi_gateway", gateway, log=folder / "gateway.log"))

    def _start(self, number: int, port: int | None = None) -> PartProcess:
        log = self._folder / f"content{number}.log"
        return self._stacks[number].enter_context(
            launch_part("kpi_content", self._content_settings, log=log, port=port)
        )

    def restart(self, number: int) -> None:
        self._stacks[number].close()
        self._contents[number] = self._start(number, self._contents[number].port)


@pytest.fixture(scope="module")
def house(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(stack, service_settings(f"live_{worker}", secret_key), tmp_path_factory.mktemp("live"))


class Shared:
    """A conversation of one person's, which another may write in."""

    def __init__(self, house: House, client: httpx.AsyncClient, owner: Person, other: Person, path: str) -> None:
        self.client = client
        self.owner = owner
        self.other = other
        self.address = house.gateway + path

    async def write(self, content: str, *, by: Person | None = None) -> dict[str, Any]:
        response = await self.client.post(
            f"{self.address}/messages", json={"content": content}, headers=(by or self.owner).headers
        )
        assert response.status_code == 201, response.text
        shown: dict[str, Any] = response.json()
        return shown


@pytest.fixture
async def shared(house: House) -> AsyncIterator[Shared]:
    with httpx.Client(base_url=house.gateway, timeout=30) as client:
        owner, other = join(client), join(client)
    async with httpx.AsyncClient(timeout=30) as client:
        own = {"headers": owner.headers}
        made = await client.post(f"{house.gateway}/api/v1/conversations", json={"title": "Of bees"}, **own)  # type: ignore[arg-type]
        assert made.status_code == 201, made.text
        shared = Shared(house, client, owner, other, f"/api/v1/conversations/{made.json()['id']}")
        # An account is known to content once auth's event about it was read.
        async with asyncio.timeout(30):
            while not await add_member(shared):  # noqa: ASYNC110 the event is that of another process
                await asyncio.sleep(0.05)
        yield shared


async def add_member(shared: Shared) -> bool:
    body = {"username": shared.other.username, "role": "writer"}
    added = await shared.client.post(f"{shared.address}/members", json=body, headers=shared.owner.headers)
    assert added.status_code in {201, 422}, added.text
    return added.status_code == 201


async def test_readers_at_both_replicas_have_all_that_is_written_in_its_order(shared: Shared) -> None:
    events = f"{shared.address}/events"
    async with (
        follow(events, shared.owner.headers) as first,
        follow(events, shared.other.headers) as second,
        follow(events, shared.owner.headers) as third,
    ):
        sender = [shared.owner, shared.other]
        await asyncio.gather(*(shared.write(str(number), by=sender[number % 2]) for number in range(30)))
        readings = (first, second, third)
        await wait_until(lambda: all(len(reading.numbers) == 30 for reading in readings))
    for reading in readings:
        assert reading.numbers == list(range(1, 31))
        assert "x-request-id" in reading.headers
    async with follow(f"{events}/?after=10", shared.other.headers) as resumed:
        await wait_until(lambda: len(resumed.events) == 22)
        assert [event.id for event in resumed.events] == list(range(10, 32))


async def test_an_upload_is_shown_while_it_is_written(shared: Shared) -> None:
    async with (
        follow(f"{shared.address}/events", shared.owner.headers) as first,
        follow(f"{shared.address}/events", shared.other.headers) as second,
    ):
        shown: list[str] = []

        async def body() -> AsyncIterator[bytes]:
            for text in ("Bees ", "dance", "."):
                yield json.dumps({"delta": text}).encode() + b"\n"
                shown.append(text)
                await wait_until(lambda: all(text_of(reading) == "".join(shown) for reading in (first, second)))

        headers = {**shared.other.headers, "Content-Type": "application/x-ndjson"}
        response = await shared.client.post(f"{shared.address}/messages?stream=true", content=body(), headers=headers)
        assert response.status_code == 201, response.text
        await wait_until(lambda: first.numbers == second.numbers == [1])
    assert first.of("message.created")[0]["content"] == "Bees dance."
    assert not response.json()["interrupted"]


def text_of(reading: Reading) -> str:
    return "".join(delta["text"] for delta in reading.of("message.delta"))


async def test_a_stream_ends_with_the_session_and_with_the_membership_of_its_reader(shared: Shared) -> None:
    events = f"{shared.address}/events"
    async with follow(events, shared.owner.headers) as revoked, follow(events, shared.other.headers) as removed:
        await shared.client.delete(f"{shared.address}/members/{shared.other.id}", headers=shared.owner.headers)
        await wait_until(lambda: removed.is_over)
        logout = re.sub("/conversations/.*", "/auth/logout", shared.address)
        ended = await shared.client.post(logout, headers=shared.owner.headers)
        assert ended.is_success, ended.text
        await wait_until(lambda: revoked.is_over)
    assert removed.events[-1].type == "member.removed"
    for headers, status in ((shared.owner.headers, 401), (shared.other.headers, 404)):
        assert (await shared.client.get(events, headers=headers)).status_code == status


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(tmp_path, executable_path=CHROMIUM, args=FLAGS)
        page = browser.pages[0]
        page.set_default_timeout(60_000)
        yield page
        await browser.close()


@pytest.mark.browser
@needs_browser
async def test_the_code_of_the_document_follows_a_conversation_through_a_rolling_restart(
    house: House, shared: Shared, page: Page
) -> None:
    [code] = re.findall(r"```js\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    await page.goto(f"{house.gateway}/health")
    await page.evaluate(
        f"""([conversation, token]) => {{
            {code}
            window.follow = follow;
            window.seen = [];
            window.ended = follow(conversation, async () => token, (type, data) => seen.push([type, data]));
        }}""",
        [shared.address, shared.other.token],
    )

    async def wait_for(event_type: str, count: int) -> None:
        await page.wait_for_function(
            "([type, count]) => seen.filter((event) => event[0] === type).length >= count", arg=[event_type, count]
        )

    await wait_for("ready", 1)
    await shared.write("message 1\n\nin two paragraphs: é, and two\u2028lines")
    await wait_for("message.created", 1)
    for number in (0, 1):
        restarting = asyncio.create_task(asyncio.to_thread(house.restart, number))
        for _ in range(5):
            await shared.write("more")
            await asyncio.sleep(0.05)
        await restarting
    await wait_for("message.created", 11)
    messages = [data for kind, data in await page.evaluate("seen") if kind == "message.created"]
    assert [message["number"] for message in messages] == list(range(1, 12))
    assert messages[0]["content"] == "message 1\n\nin two paragraphs: é, and two\u2028lines"
    await shared.client.delete(f"{shared.address}/members/{shared.other.id}", headers=shared.owner.headers)
    assert await page.evaluate("window.ended") == 404
    assert await page.evaluate("follow('/api/v1/conversations/none', async () => 'x')") == 401
    refused = "(token) => follow('/api/v1/conversations/none', async () => token)"
    assert await page.evaluate(refused, shared.other.token) == 422
