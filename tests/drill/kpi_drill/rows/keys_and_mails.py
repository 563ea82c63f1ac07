"""Keys change, and mails go out, under a platform whose sessions and mails must survive that."""

import asyncio
import secrets
import time

from kpi_drill.http import Client, post
from kpi_drill.load import API, PASSWORD
from kpi_drill.mail_server import run_mail_server
from kpi_drill.platform import Platform
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, failed_share, percent, seconds

_WITH_KEYS = ("auth1", "auth2", "content1", "content2")
_MAILS = 100
_MAIL_KILLS = 6
# While a mail is on the wire: long enough that each kill meets some.
_MAIL_SECONDS = 0.15
_SETTLE_SECONDS = 120.0


async def retire_key(stage: Stage) -> Verdict:
    """The tokens' key is replaced, and the old one retired before any session has refreshed."""
    new, old = secrets.token_hex(32), stage.server.secret_key
    async with stage.platform() as platform:
        async with stage.load(platform) as load:
            await load.settle()
        for keys in (
            {"PASETO_SECRET_KEY": old, "PASETO_PREVIOUS_KEYS": new},
            {"PASETO_SECRET_KEY": new, "PASETO_PREVIOUS_KEYS": old},
            {"PASETO_SECRET_KEY": new, "PASETO_PREVIOUS_KEYS": ""},
        ):
            await _restart_with(platform, keys)
        began = len(load.samples)
        losses = await stage.check(load, platform)
    share = failed_share(load.samples[began:])
    figure = f"{losses.sessions_ended} of {len(load.people)} sessions ended, {losses}"
    return Verdict(figure + (f", {percent(share)} failed" if share else ""), losses.total == 0)


async def _restart_with(platform: Platform, keys: dict[str, str]) -> None:
    """All at once, since nothing is asked meanwhile."""
    replicas = [platform[name] for name in _WITH_KEYS]
    for replica in replicas:
        replica.settings = {**replica.settings, **keys}
    await asyncio.gather(*(replica.stop() for replica in replicas))
    for replica in replicas:
        await replica.start()
    for replica in replicas:
        await replica.wait_until_ready()


async def kill_while_mails_go_out(stage: Stage) -> Verdict:
    """100 registrations, each with a mail, and six kills of auth while these go out."""
    kills = 2 if stage.short else _MAIL_KILLS
    async with run_mail_server(_MAIL_SECONDS) as mails:
        settings = {"auth": {"MAIL_URL": f"smtp://127.0.0.1:{mails.port}"}}
        async with stage.platform(settings) as platform:
            await _register_everyone(platform)
            unsettled = []
            for number in range(kills):
                await asyncio.sleep(0.7)
                unsettled.append(_count_pending(stage))
                await platform[f"auth{number % 2 + 1}"].kill()
                await platform[f"auth{number % 2 + 1}"].start()
            settled = await _wait_until_settled(stage)
    lost = _MAILS - len(mails.accepted)
    figure = f"{lost} lost, {mails.doubled} doubled in {kills} kills, settled {seconds(settled)} after the last"
    kept = not lost and mails.doubled <= kills and (stage.short or settled <= 30)
    if not unsettled[-1]:
        figure += ", the last kills met no mail"
    return Verdict(figure, kept and settled < _SETTLE_SECONDS)


async def _register_everyone(platform: Platform) -> None:
    client, places = Client(platform.ports("gateway")), asyncio.Semaphore(8)

    async def register(number: int) -> None:
        body = {"username": f"mail{number}", "email": f"mail{number}@example.com", "password": PASSWORD}
        async with places:
            reply = await client.send(post(f"{API}/users", body))
        if reply.status != 201:
            raise RuntimeError(f"registration fails: {reply}")

    async with asyncio.TaskGroup() as group:
        for number in range(_MAILS):
            group.create_task(register(number))
    await client.close()


async def _wait_until_settled(stage: Stage) -> float:
    began = time.monotonic()
    while await asyncio.to_thread(_count_pending, stage):
        if time.monotonic() > began + _SETTLE_SECONDS:
            return _SETTLE_SECONDS
        await asyncio.sleep(0.2)
    return time.monotonic() - began


def _count_pending(stage: Stage) -> int:
    return int(str(stage.server.query("drill_auth", "SELECT count(*) FROM mails WHERE state = 'pending'")[0][0]))
