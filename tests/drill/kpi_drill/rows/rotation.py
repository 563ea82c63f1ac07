"""The key of the tokens turns under load, as an operator turns it."""

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from kpi_cli.token_keys.paserk import Purpose
from kpi_cli.token_keys.ring import State, make_ring
from kpi_cli.token_keys.rotation import Plan, Rotator
from kpi_cli.token_keys.store import FileStore

from kpi_drill.load import Sample
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, seconds

_SECONDS = 180.0
_INTERVAL = 10.0
_SHORT_ROTATIONS = 2
_PARTS = ("auth", "content", "gateway")
_HOLDERS = "SELECT part, instance, keys FROM token_key_holders WHERE reported_at > now() - interval '15 seconds'"
# The shortest life of a token that can be set. A key is retired when all tokens of it have expired.
_TOKEN_MINUTES = "1"
# What needs an access token, and is not sent with that of a session that the load itself has ended.
_WITH_TOKEN = {"me", "create", "vote"}
# A gateway holds the keys where it limits what each user may ask.
_LIMITS = {"requests": 1_000_000}
_GATEWAY = {
    "RATE_LIMIT_ENABLED": "true",
    "RATE_LIMIT_REQUESTS": str(_LIMITS["requests"]),
    "RATE_LIMIT_POLICIES": json.dumps(dict.fromkeys(("login", "registration", "reset", "credentials"), _LIMITS)),
}


async def rotate_local(stage: Stage) -> Verdict:
    return await _rotate(stage, Purpose.LOCAL)


async def rotate_public(stage: Stage) -> Verdict:
    return await _rotate(stage, Purpose.PUBLIC)


async def _rotate(stage: Stage, purpose: Purpose) -> Verdict:
    """A new rotation every 10 s; each leaves the old key to a later one, which retires it when it is time."""
    store = _make_store(stage, purpose)
    async with stage.platform(_settings_for(store, purpose)) as platform:
        async with stage.load(platform) as load:
            await load.settle()
            began = time.perf_counter()
            times = await _rotate_again_and_again(stage, store)
            samples = load.since(began)
        losses = await stage.check(load, platform)
    failed = [one for one in samples if _has_failed(one)]
    named = "".join(f" ({one.kind} {one.reply.status} after {seconds(one.reply.took)})" for one in failed[:3])
    retired = len(store.read().in_state(State.RETIRED))
    figure = (
        f"{len(failed)} of {len(samples)} requests failed{named} in {len(times)} rotations of {seconds(max(times))}"
    )
    figure += f" at most, {retired} keys retired; {losses}"
    return Verdict(figure, not failed and (stage.short or retired > 0) and losses.total == 0)


def _make_store(stage: Stage, purpose: Purpose) -> FileStore:
    folder = stage.folder / f"keys-{time.monotonic_ns()}"
    folder.mkdir(mode=0o700)
    store = FileStore(folder / "ring.json", [folder / "verifiers.json"])
    store.make(lambda _: make_ring(purpose, datetime.now(UTC)))
    return store


def _settings_for(store: FileStore, purpose: Purpose) -> dict[str, dict[str, str]]:
    def read_from(path: Path) -> dict[str, str]:
        return {"PASETO_KEYS_FILE": str(path), "TOKEN_PURPOSE": purpose.value}

    copy = read_from(store.copies[0])
    auth = {**read_from(store.path), "ACCESS_TOKEN_EXPIRE_MINUTES": _TOKEN_MINUTES}
    return {"auth": auth, "content": copy, "gateway": {**copy, **_GATEWAY}}


async def _rotate_again_and_again(stage: Stage, store: FileStore) -> Sequence[float]:
    """Returns how long each rotation took."""
    times: list[float] = []
    end = time.monotonic() + _SECONDS
    while len(times) < _SHORT_ROTATIONS if stage.short else time.monotonic() < end:
        began = time.monotonic()
        await _run_rotation(stage, store)
        times.append(time.monotonic() - began)
        await asyncio.sleep(0 if stage.short else max(0.0, _INTERVAL - times[-1]))
    return times


async def _run_rotation(stage: Stage, store: FileStore) -> None:
    """What ``kpi keys rotate --no-wait`` does, without the start of its processes: it takes more than all the load."""
    is_over = threading.Event()

    def sleep(pause: float) -> None:
        if is_over.wait(pause):
            raise RuntimeError("the rotation was stopped")

    rotator = Rotator(store, partial(_ask, stage), Plan(_PARTS, retire=False), lambda _: None, sleep)
    try:
        ring = await asyncio.to_thread(rotator.run)
    finally:
        is_over.set()
    if ring.active is None or ring.rotation is not None:
        raise RuntimeError("the rotation is not complete")


def _ask(
    stage: Stage, _command: str, _request: Mapping[str, object], *, seconds: float | None = None
) -> dict[str, Any]:
    """As auth's command answers: the processes that have reported lately."""
    rows = stage.server.query("drill_auth", _HOLDERS)
    holders = [{"part": part, "instance": instance, "keys": keys} for part, instance, keys in rows]
    return {"holders": holders, "killed": [], "token_seconds": 60 * int(_TOKEN_MINUTES)}


def _has_failed(sample: Sample) -> bool:
    return sample.failed or (sample.kind in _WITH_TOKEN and sample.reply.status == 401)
