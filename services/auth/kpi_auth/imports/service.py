"""Moving accounts of another system in: read, stage, judge, add. All of it is one transaction of the caller."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

from kpi_kit.hashing import HashFunctions, RefusedHashError
from kpi_shared.caller import Role
from kpi_shared.errors import field_error
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import import_repository as staging
from kpi_auth.accounts.fields import MAX_USERNAME
from kpi_auth.accounts.import_repository import Problem, StagedAccount
from kpi_auth.audit import repository as audit
from kpi_auth.audit.models import Event
from kpi_auth.commands import RefusedError
from kpi_auth.identities.usernames import fit
from kpi_auth.imports.schemas import ImportedAccount, ImportOptions, Totals
from kpi_auth.origin import CONSOLE
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.secret_keys import SecretKeys

BATCH = 2000
# Of more problems only the number is reported.
MOST_PROBLEMS = 100
# A collision is an error that the operator cannot mend: with five bytes it takes a million info@ addresses.
_SUFFIX_BYTES = 5
_PURPOSE = b"kpi-imports"
_KEY_BYTES = 16

Report = Callable[[Mapping[str, object]], None]


class Reader:
    """The lines as accounts to be staged; remembers the first problems, and counts all."""

    def __init__(self, settings: AuthSettings, functions: HashFunctions, options: ImportOptions) -> None:
        self._signs_in_unverified = settings.discloses_email
        self._functions = functions
        self._options = options
        self._now = datetime.now(UTC)
        self._secrets = SecretKeys(settings).derive(_PURPOSE)
        self._last = 0
        self.problems: list[Problem] = []
        self.refused = 0
        self.read = 0

    def accounts(self, lines: Iterable[bytes]) -> Iterator[StagedAccount]:
        for number, line in enumerate(lines, start=1):
            self.read += 1
            try:
                account = ImportedAccount.model_validate_json(line)
            except ValidationError as error:
                self._refuse(_find_line(line) or number, _describe(error))
                continue
            if account.line <= self._last:
                raise RefusedError(f"line {account.line} comes after line {self._last}: each account has its own line")
            self._last = account.line
            if problem := self._find_problem(account):
                self._refuse(account.line, problem)
            else:
                yield self._prepare(account)
        if self.read != self._options.lines:
            raise RefusedError(f"{self.read} of {self._options.lines} lines arrived: nothing is stored")

    def _refuse(self, line: int, problem: str) -> None:
        self.refused += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(line, problem))

    def _find_problem(self, account: ImportedAccount) -> str | None:
        if account.unreadable is not None:
            return account.unreadable
        if account.role is Role.ADMIN and not self._options.admins:
            return "role: an admin is imported only if the import allows admins"
        try:
            if account.hash is not None:
                self._functions.check(account.hash)
        except RefusedHashError as error:
            return f"hash: {error}"
        return None

    def _prepare(self, account: ImportedAccount) -> StagedAccount:
        name = account.username or fit(account.email or "")
        verified_at = account.verified_at
        return StagedAccount(
            line=account.line,
            username=name,
            fallback=None if account.username else _make_fallback(name, account.email or ""),
            email=account.email,
            email_signs_in=verified_at is not None or self._signs_in_unverified,
            verified_at=verified_at,
            password_hash=account.hash,
            role=account.role.value,
            created_at=account.created_at or self._now,
            keys=self._make_keys(account.email or name.lower()),
        )

    def _make_keys(self, identity: str) -> list[bytes]:
        """With each secret that is valid, so that a line is known again after the secret was replaced."""
        return [
            hashlib.blake2b(identity.encode(), key=secret, digest_size=_KEY_BYTES).digest() for secret in self._secrets
        ]


async def stage_all(connection: AsyncConnection, reader: Reader, lines: Iterable[bytes], *, report: Report) -> None:
    """Read all lines into the temporary table; RefusedError if another import runs, or lines are missing."""
    if not await staging.take_turn(connection):
        raise RefusedError("another import is running: try again when it has ended")
    await staging.prepare(connection)
    accounts = reader.accounts(lines)
    while batch := list(islice(accounts, BATCH)):
        await staging.stage(connection, batch)
        report({"read": reader.read})


async def judge_all(connection: AsyncConnection, reader: Reader) -> tuple[Totals, list[Problem]]:
    """What would become of the lines, and the first problems in the order of the lines."""
    found = await staging.judge(connection)
    problems = sorted([*reader.problems, *await staging.get_problems(connection, most=MOST_PROBLEMS)])
    totals = Totals(
        read=reader.read,
        added=found.new,
        unchanged=found.known,
        refused=reader.refused + found.refused,
        without_password=found.without_password,
    )
    return totals, problems[:MOST_PROBLEMS]


async def add_all(connection: AsyncConnection, totals: Totals, *, report: Report) -> None:
    """Add the new accounts with their events and audit records; RefusedError if one of them was taken meanwhile."""
    added, after = 0, 0
    while (last := await staging.find_end(connection, after=after, most=BATCH)) is not None:
        rows = await staging.add_staged(connection, after=after, last=last)
        if rows:
            await audit.add_all(connection, [_audit(row.id, row.role) for row in rows])
        added, after = added + len(rows), last
        report({"added": added})
    if added != totals.added:
        raise RefusedError("an account with one of these names was registered meanwhile: run the import again")
    await staging.remember_known(connection)


def _audit(user_id: int, role: str) -> dict[str, object]:
    details = {"role": role, "imported": True}
    return {"event": Event.USER_CREATED.value, "subject_id": user_id, **CONSOLE.columns, "details": details}


def _make_fallback(name: str, email: str) -> str:
    """The same one for the same address in every run."""
    suffix = hashlib.blake2b(email.encode(), digest_size=_SUFFIX_BYTES).hexdigest()
    return f"{name[: MAX_USERNAME - len(suffix) - 1]}-{suffix}"


def _find_line(line: bytes) -> int | None:
    """The number that the caller gave to a line that is not valid otherwise."""
    try:
        number = json.loads(line).get("line")
    except (ValueError, AttributeError, RecursionError):
        return None
    return number if isinstance(number, int) else None


def _describe(error: ValidationError) -> str:
    first = error.errors(include_input=False)[0]
    field = ".".join(map(str, first["loc"]))
    detail = field_error(first)["detail"]
    return f"{field}: {detail}" if field else detail
