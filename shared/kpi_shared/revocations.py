"""Which tokens are refused before they expire, in the memory of one process, and how old that knowledge is.

A revocation names what it hits by a number, never by a time: the clocks of replicas differ, and a transaction commits
later than the time that it wrote. See docs/adr/0041-revocation-by-number.md.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from math import inf
from time import monotonic

from kpi_shared.caller import Subject, is_key_session_id
from kpi_shared.errors import UnavailableError
from kpi_shared.tokens import InvalidTokenError

_MOST_ENDS_TOO_MANY = 100


class RevocationsUnknownError(UnavailableError):
    """What auth has revoked is not known, so nothing is changed for a token that may have been."""

    type = "revocations-unknown"
    title = "Revoked tokens cannot be recognised at the moment, so no change is accepted; try again shortly"


class _Reader:
    """One to whom the revocation of its subject matters while it lasts; ``end`` is called then."""

    __slots__ = ("end", "subject")

    def __init__(self, subject: Subject, end: Callable[[], None]) -> None:
        self.subject = subject
        self.end = end


class Revocations:
    """By session, account and key. An entry is forgotten when no token that it hits can be valid any more.

    ``silence_limit`` is the age in seconds from which on changes are refused; ``kill_key`` ends a key of tokens.
    """

    def __init__(self, *, silence_limit: float, kill_key: Callable[[str], None]) -> None:
        self._silence_limit = silence_limit
        self._kill_key = kill_key
        self._sessions: dict[str, float] = {}
        self._versions: dict[int, int] = {}
        self._account_ends: dict[int, float] = {}
        self._killed: set[str] = set()
        # When entries may be forgotten, or later: the id of a session is a text, that of an account a number.
        self._ends: list[tuple[float, str, int]] = []
        # By the id of the session and by that of the account.
        self._readers: dict[str | int, set[_Reader]] = {}
        # All that was committed before this time is in here, by ``time.monotonic``.
        self._known_until = -inf

    def __len__(self) -> int:
        return len(self._sessions) + len(self._versions) + len(self._killed)

    @property
    def readers(self) -> int:
        """How many are watched, by their sessions."""
        return sum(len(readers) for key, readers in self._readers.items() if isinstance(key, str))

    def check(self, subject: Subject) -> None:
        """Raise InvalidTokenError if the session of the subject has ended, or its account has changed since."""
        if subject.session_id in self._sessions:
            raise InvalidTokenError
        least = self._versions.get(subject.id)
        if least is not None and (subject.account_version or 0) < least:
            raise InvalidTokenError

    @property
    def age(self) -> float:
        """For how many seconds a revocation may have been committed without being known here."""
        return monotonic() - self._known_until

    def require_known(self) -> None:
        """Raise RevocationsUnknownError if the age is above the limit."""
        if monotonic() - self._known_until > self._silence_limit:
            raise RevocationsUnknownError

    def mark_known(self, *, until: float) -> None:
        """All that was committed before ``until``, a time of ``time.monotonic``, has been added. Also forgets."""
        self._known_until = until
        self._forget(monotonic())

    def end_sessions(self, session_ids: Iterable[str], *, seconds: float) -> None:
        """``seconds`` is the time after which none of their tokens is valid."""
        end = monotonic() + seconds
        for session_id in session_ids:
            known = self._sessions.get(session_id)
            if known is None:
                heappush(self._ends, (end, session_id, 0))
            self._sessions[session_id] = end if known is None else max(end, known)
            self._end_readers(session_id)

    def list_ended_keys(self) -> list[str]:
        """The sessions of API keys among those that have ended."""
        return [session_id for session_id in self._sessions if is_key_session_id(session_id)]

    def restore_sessions(self, session_ids: Iterable[str]) -> None:
        """An API key that was switched off works again, with the tokens that it has."""
        for session_id in session_ids:
            self._sessions.pop(session_id, None)

    def end_versions(self, account_id: int, *, below: int, seconds: float) -> None:
        """Tokens of the account with a lower version end, and those without one."""
        if below < self._versions.get(account_id, 0):
            return
        end, known = monotonic() + seconds, self._account_ends.get(account_id)
        if known is None:
            heappush(self._ends, (end, "", account_id))
        self._versions[account_id] = below
        self._account_ends[account_id] = end if known is None else max(end, known)
        self._end_readers(account_id)

    def end_key(self, kid: str) -> None:
        """Tokens of the key end. Where they are opened they are refused before ``check``: see ``kill_key``."""
        if kid in self._killed:
            return
        self._kill_key(kid)
        self._killed.add(kid)
        for session_id in self._readers:
            self._end_readers(session_id)

    @contextmanager
    def watching(self, subject: Subject, end: Callable[[], None]) -> Iterator[None]:
        """Call ``end`` when the subject is revoked during the block; at once, if it is revoked already."""
        reader = _Reader(subject, end)
        keys = (subject.session_id, subject.id)
        for key in keys:
            self._readers.setdefault(key, set()).add(reader)
        try:
            if self.is_revoked(subject):
                end()
            yield
        finally:
            for key in keys:
                self._remove_reader(key, reader)

    def _remove_reader(self, key: str | int, reader: _Reader) -> None:
        readers = self._readers[key]
        readers.discard(reader)
        if not readers:
            del self._readers[key]

    def _end_readers(self, key: str | int) -> None:
        for reader in self._readers.get(key, ()):
            if self.is_revoked(reader.subject):
                reader.end()

    def is_revoked(self, subject: Subject) -> bool:
        """As ``check``, and for a token that was verified earlier, whose key may have been killed since."""
        try:
            self.check(subject)
        except InvalidTokenError:
            return True
        return subject.token_key_id in self._killed

    def _forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, session_id, account_id = heappop(self._ends)
            end = self._sessions.get(session_id) if session_id else self._account_ends.get(account_id)
            if end is None:
                continue
            if end > now:
                # Another revocation has set a later end since.
                heappush(self._ends, (end, session_id, account_id))
            elif session_id:
                del self._sessions[session_id]
            else:
                del self._account_ends[account_id], self._versions[account_id]
        if len(self._ends) > 2 * (len(self) + _MOST_ENDS_TOO_MANY):
            self._rebuild_ends()

    def _rebuild_ends(self) -> None:
        """Keys that are switched on and off leave ends of entries that were taken out."""
        self._ends = [(end, session_id, 0) for session_id, end in self._sessions.items()]
        self._ends += [(end, "", account_id) for account_id, end in self._account_ends.items()]
        heapify(self._ends)
