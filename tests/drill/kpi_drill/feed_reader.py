"""A reader of auth's feed, as another team would write it: it goes on after the last event that it has seen."""

import asyncio
import json
from collections import defaultdict
from itertools import cycle
from typing import Any

import httpx

from kpi_drill.platform import Platform

_SILENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.1


class FeedReader:
    def __init__(self, platform: Platform) -> None:
        self._addresses = [f"http://127.0.0.1:{port}" for port in platform.internal_ports.values()]
        self._headers = {"Authorization": f"Bearer {platform.server.secret('feed_key')}"}
        self.last = 0
        self.seen: set[int] = set()
        self.disordered = 0
        self.first_disorder = ""
        self._versions: dict[int, int] = defaultdict(int)

    async def run(self) -> None:
        """Until it is cancelled, from one address after another."""
        for address in cycle(self._addresses):
            try:
                await self._read(address)
            except httpx.HTTPError:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _read(self, address: str) -> None:
        url = f"{address}/internal/feed/events"
        async with (
            httpx.AsyncClient(headers=self._headers, timeout=_SILENCE_SECONDS, trust_env=False) as client,
            client.stream("GET", url, params={"after": self.last}) as response,
        ):
            response.raise_for_status()
            async for line in response.aiter_lines():
                self._note(json.loads(line))

    def _note(self, line: dict[str, Any]) -> None:
        if "heartbeat" in line:
            return
        seq, account_id, version = line["seq"], line["account_id"], line["data"].get("version")
        # Several events of one change have the same version.
        if seq <= self.last or (version is not None and version < self._versions[account_id]):
            self.disordered += 1
            self.first_disorder = self.first_disorder or f"{line['type']} {seq} after {self.last} at version {version}"
        self.last = seq
        self.seen.add(seq)
        if version is not None:
            self._versions[account_id] = version
