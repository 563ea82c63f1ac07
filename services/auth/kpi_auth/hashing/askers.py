"""Who asks for a hash: a share of the queue belongs to each address and to each account."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple, Self, TypeVar

from kpi_shared.addresses import client_network

from kpi_auth.origin import Origin

Key = TypeVar("Key", bound=Hashable)
_REMEMBERED = 10_000


class Asker(NamedTuple):
    """The client's network and the account as the request names it; an empty one is no source.

    The account is kept as a number that this process alone can compute: people type passwords into the wrong field.
    """

    network: str
    account: int

    @classmethod
    def of(cls, origin: Origin, *, login: str | None = None) -> Self:
        """A client that is not signed in, with the login as it was typed."""
        network = str(client_network(origin.address)) if origin.address is not None else ""
        return cls(network, 0 if login is None else hash(login))

    @classmethod
    def of_user(cls, user_id: int) -> Self:
        """A user who has proved who they are, at whatever address."""
        return cls("", hash(("user", user_id)))

    @property
    def sources(self) -> tuple[Hashable, ...]:
        return tuple(source for source in self if source)


ANYONE = Asker("", 0)


class Familiar:
    """Askers who have signed in lately. The memory is bounded: those who did so least recently are forgotten."""

    def __init__(self, *, most: int = _REMEMBERED) -> None:
        self._most = most
        self._askers: OrderedDict[Asker, None] = OrderedDict()
        self._networks: OrderedDict[str, None] = OrderedDict()

    def has(self, asker: Asker) -> bool:
        return asker in self._askers

    def has_address(self, asker: Asker) -> bool:
        return asker.network in self._networks

    def add(self, asker: Asker) -> None:
        _remember(self._askers, asker, self._most)
        _remember(self._networks, asker.network, self._most)


def _remember(known: OrderedDict[Key, None], key: Key, most: int) -> None:
    known[key] = None
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)
