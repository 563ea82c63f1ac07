"""The steady, seeded load: people who read, write, vote, refresh, sign in and out through both gateways."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from kpi_drill.http import Client, Reply, Request, get, post, post_form
from kpi_drill.ledger import Ledger, Person

API = "/api/v1"
PASSWORD = "a quiet red bicycle"
PEOPLE = 24
POSTS = 40
RATE = 50.0
_TRIES = 60
_IMPATIENT_SECONDS = 4.0
# A request that has waited for so long is one that its client notices.
_LATE_SECONDS = 1.5
_HEALTHY_SECONDS = 3.0
_SETTLE_SECONDS = 20.0
_PATIENCE_SECONDS = 60.0
_BURSTS = 5
# Actions and how often each occurs.
_MIX = {"read": 34, "page": 8, "search": 4, "me": 8, "create": 8, "vote": 14, "refresh": 12, "register": 3, "cycle": 4}


class Sample(NamedTuple):
    """One request: what it was, when it was sent (time.perf_counter()), and what came of it."""

    kind: str
    sent: float
    reply: Reply

    @property
    def failed(self) -> bool:
        return self.reply.status == 0 or self.reply.status >= 500

    @property
    def is_broken(self) -> bool:
        """Failed in a way that a busy machine does not explain."""
        return self.reply.status in {0, 500, 502}

    @property
    def ended(self) -> float:
        return self.sent + self.reply.took

    @property
    def is_late(self) -> bool:
        return self.reply.took > _LATE_SECONDS


class Load:
    """People and their requests. Each request starts on time, even if others are open."""

    def __init__(self, ports: Sequence[int], *, seed: int, rate: float = RATE, is_patient: bool = False) -> None:
        """A patient one judges no times: it is used where other work keeps the machine busy."""
        self._is_patient = is_patient
        self._client = Client(ports)
        self._random = random.Random(seed)
        self._rate = rate
        self._names = 0
        self._sent = 0
        self._seed = seed
        self.people: list[Person] = []
        self.post_ids: list[int] = []
        self.ledger = Ledger()
        self.samples: list[Sample] = []
        self._open: set[asyncio.Task[None]] = set()
        # When each request that has no outcome yet was sent.
        self._waiting: dict[int, float] = {}
        self._running: asyncio.Task[None] | None = None
        self._actions: dict[str, Callable[[Person], Awaitable[None]]] = {
            "read": self._read,
            "page": self._page,
            "search": self._search,
            "me": self._me,
            "create": self._create,
            "vote": self._vote,
            "refresh": self.refresh,
            "register": self._register_another,
            "cycle": self._sign_out_and_in,
        }

    async def prepare(self) -> None:
        """Register the people and write the first posts; a failure here is one of the drill."""
        self.people = [await self._join() for _ in range(PEOPLE)]
        for number in range(POSTS):
            await self._create(self.people[number % PEOPLE])
        if len(self.post_ids) < POSTS or any(sample.failed for sample in self.samples):
            raise RuntimeError(f"the platform does not work: {self.samples[-1]}")
        self.samples.clear()

    async def _join(self) -> Person:
        person = await self._register("setup")
        if person is None or not await self._sign_in(person, "setup"):
            raise RuntimeError(f"registration or sign-in fails: {self.samples[-1]}")
        return person

    # The schedule

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        began, number = time.perf_counter(), 0
        kinds, weights = list(_MIX), list(_MIX.values())
        while True:
            await asyncio.sleep(max(0.0, began + number / self._rate - time.perf_counter()))
            number += 1
            kind = self._random.choices(kinds, weights)[0]
            idle = [person for person in self.people if not person.is_busy and not person.is_locked_out]
            if idle:
                self._begin(self._actions[kind], self._random.choice(idle), own=kind not in {"read", "page", "search"})

    def _begin(self, action: Callable[[Person], Awaitable[None]], person: Person, *, own: bool) -> None:
        task = asyncio.create_task(self._act(action, person, own=own))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _act(self, action: Callable[[Person], Awaitable[None]], person: Person, *, own: bool) -> None:
        """Reads by anyone overlap; what a person does with a session of their own does not."""
        person.is_busy = own
        try:
            await action(person)
        finally:
            if own:
                person.is_busy = False

    async def stop(self) -> None:
        """Send nothing new, and wait for what is open."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            if not self._running.cancelled() and (error := self._running.exception()):
                raise error
        for result in await asyncio.gather(*self._open, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def settle(self) -> None:
        """Let the services open all the database connections that they may, and wait until all is healthy."""
        for _ in range(_BURSTS):
            await asyncio.gather(*(action(person) for person in self.people for action in (self._read, self._me)))
        if not await self.wait_until_healthy(_SETTLE_SECONDS) and not self._is_patient:
            raise RuntimeError(
                f"the platform is not healthy without a fault: {[one for one in self.samples if one.failed][-3:]}"
            )

    async def rest(self, seconds: float) -> Sequence[Sample]:
        """Let the load go on for so long, and return the samples of requests that were sent meanwhile."""
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        return self.since(began)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Let the load go on until that is so."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.1)

    def is_healthy(self, seconds: float) -> bool:
        """Whether enough has succeeded for so long, nothing has failed, and nothing waits."""
        now = time.perf_counter()
        ended = [one for one in self.samples if one.ended >= now - seconds]
        if self._is_patient:
            return bool(ended) and not any(one.failed for one in ended)
        is_late = any(sent < now - _LATE_SECONDS for sent in self._waiting.values())
        return not is_late and not any(one.failed for one in ended) and len(ended) >= seconds * self._rate / 2

    def recovery(self, began: float) -> float:
        """How many seconds after that moment the last failed or late request ended."""
        return max(
            (one.ended - began for one in self.since(began - _LATE_SECONDS) if one.failed or one.is_late), default=0.0
        )

    async def wait_until_healthy(self, limit: float) -> bool:
        """Wait until the load has been healthy for a while, at most so long; the patient one longer, for less."""
        began = time.perf_counter()
        limit, while_seconds = (3 * limit, _HEALTHY_SECONDS / 2) if self._is_patient else (limit, _HEALTHY_SECONDS)
        while time.perf_counter() < began + limit:
            await asyncio.sleep(0.1)
            if time.perf_counter() > began + while_seconds and self.is_healthy(while_seconds):
                return True
        return False

    def since(self, began: float, until: float | None = None) -> Sequence[Sample]:
        return [one for one in self.samples if one.sent >= began and (until is None or one.sent < until)]

    async def close(self) -> None:
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._client.close()

    async def refresh_all(self) -> None:
        """Everybody who does nothing else refreshes now, at once."""
        idle = [person for person in self.people if not person.is_busy and not person.is_locked_out]
        for person in idle:
            self._begin(self.refresh, person, own=True)
        await asyncio.sleep(0)

    # What people do

    async def _send(self, kind: str, request: Request, patience: float | None = None) -> Reply:
        sent = time.perf_counter()
        self._sent += 1
        number = self._sent
        self._waiting[number] = sent
        reply = await self._client.send(request, timeout=patience)
        del self._waiting[number]
        self.samples.append(Sample(kind, sent, reply))
        return reply

    async def send_alone(self, request: Request) -> Reply:
        """A request that is not part of the load."""
        return await self._client.send(request)

    async def _send_until_definite(self, kind: str, request: Request) -> Reply:
        """Repeat a request as a client does that got no response: the next gateway gets it.

        Some clients wait as long as a browser does, and some give up early.
        """
        patience = self._random.choice((_IMPATIENT_SECONDS, None))
        for _ in range(_TRIES):
            reply = await self._send(kind, request, patience)
            if reply.is_definite:
                return reply
            await asyncio.sleep(0.5)
        return reply

    async def _read(self, person: Person) -> None:
        await self._send("read", get(f"{API}/posts/{self._random.choice(self.post_ids)}", person.origin))

    async def _page(self, person: Person) -> None:
        await self._send("page", get(f"{API}/posts?limit=10", person.origin))

    async def _search(self, person: Person) -> None:
        await self._send("search", get(f"{API}/posts?search=lamp", person.origin))

    async def _me(self, person: Person) -> None:
        await self._send("me", get(f"{API}/auth/me", person.bearer, person.origin))

    async def _create(self, person: Person) -> None:
        await self._create_post(person, "A text about a lamp. " * 10)

    async def create_long_post(self) -> None:
        """Random text, which cannot be compressed."""
        person = self._random.choice(self.people)
        await self._create_post(person, f"{self._random.getrandbits(64_000):016x}")

    async def _create_post(self, person: Person, content: str) -> None:
        title = f"Post {self._random.getrandbits(64):016x} with a lamp"
        body = {"title": title, "content": content}
        reply = await self._send("create", post(f"{API}/posts", body, person.bearer, person.origin))
        if reply.status == 201:
            post_id = int(reply.json()["id"])
            self.ledger.posts[post_id] = title
            self.post_ids.append(post_id)

    async def _vote(self, person: Person) -> None:
        post_id = self._random.choice(self.post_ids)
        if post_id in person.unknown_votes:
            return
        allowed = self.ledger.votes[person.id, post_id]
        direction = 1 - next(iter(allowed))
        body = {"post_id": post_id, "direction": direction}
        reply = await self._send("vote", post(f"{API}/votes", body, person.bearer, person.origin))
        if reply.status == 200:
            self.ledger.votes[person.id, post_id] = {direction}
        elif not reply.is_definite:
            # It may have been stored, and it may still be.
            self.ledger.votes[person.id, post_id] = {*allowed, direction}
            person.unknown_votes.add(post_id)

    async def refresh(self, person: Person) -> None:
        request = post_form(f"{API}/auth/refresh", {"refresh_token": person.refresh_token}, person.origin)
        reply = await self._send_until_definite("refresh", request)
        if reply.status == 200:
            person.take_tokens(reply)
        elif reply.status in {400, 401}:
            person.is_locked_out = True
            self.ledger.locked_out.append(person.name)

    async def _register(self, kind: str) -> Person | None:
        self._names += 1
        name = f"p{self._seed}x{self._names}"
        person = Person(name, f"10.0.{self._names // 250 % 250}.{self._names % 250 + 1}")
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        reply = await self._send(kind, post(f"{API}/users", body, person.origin))
        if reply.status != 201:
            return None
        person.id = int(reply.json()["id"])
        self.ledger.people[name] = person.id
        return person

    async def _register_another(self, _person: Person) -> None:
        await self._register("register")

    async def _sign_in(self, person: Person, kind: str) -> bool:
        form = {"username": person.name, "password": PASSWORD}
        reply = await self._send_until_definite(kind, post_form(f"{API}/auth/login", form, person.origin))
        if reply.status == 200:
            person.take_tokens(reply)
        return reply.status == 200

    async def _sign_out_and_in(self, person: Person) -> None:
        """Log out while a refresh is under way, try the old tokens after the response, and sign in again."""
        refresh = post_form(f"{API}/auth/refresh", {"refresh_token": person.refresh_token}, person.origin)
        racing = asyncio.create_task(self._send("refresh", refresh))
        logout = Request("POST", f"{API}/auth/logout", (person.bearer, person.origin))
        reply = await self._send_until_definite("logout", logout)
        raced = await racing
        # 401: the session has ended already, by an attempt without a response.
        if reply.status in {204, 401}:
            tokens = [person.refresh_token, *([raced.json()["refresh_token"]] if raced.status == 200 else [])]
            self.ledger.logged_out += tokens
            for token in tokens:
                again = post_form(f"{API}/auth/refresh", {"refresh_token": token}, person.origin)
                self.ledger.issued_after_logout += (await self._send("refused", again)).status == 200
        elif raced.status == 200:
            person.take_tokens(raced)
        await self._sign_in(person, "login")


@asynccontextmanager
async def run_load(
    ports: Sequence[int], *, seed: int, rate: float = RATE, is_patient: bool = False
) -> AsyncIterator[Load]:
    """The load during the block; at its end what is open has been answered."""
    load = Load(ports, seed=seed, rate=rate, is_patient=is_patient)
    try:
        await load.prepare()
        load.start()
        yield load
        await load.stop()
    finally:
        await load.close()
