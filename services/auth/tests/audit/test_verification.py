"""What verification finds of changes that the owner of the database makes."""

import secrets
from datetime import timedelta

import pytest
from audit_support import Trail
from kpi_auth.audit import chain_repository, verification
from pydantic import SecretStr

_WHOLE = "ck_audit_events_place_has_hash"
_CHANGE = "UPDATE audit_events SET"
_ADD = "INSERT INTO audit_events (id, at, event)"
_REMOVE = "DELETE FROM audit_events"
_SHIFT_UP = "UPDATE audit_events SET seq = -seq WHERE seq > 4; UPDATE audit_events SET seq = -seq + 1 WHERE seq < 0"
_SHIFT_DOWN = "UPDATE audit_events SET seq = -seq WHERE seq > 5; UPDATE audit_events SET seq = -seq - 1 WHERE seq < 0"
_FORGED = "INSERT INTO audit_events (id, at, event, seq, hash) OVERRIDING SYSTEM VALUE SELECT 99, at, event"
_LOWEST = _FORGED.replace("99", str(-(2**63)))


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        # Changed: each column.
        *(
            (f"{_CHANGE} {change} WHERE seq = 5", ("changed", 5, 5))
            for change in (
                "at = at + interval '1 microsecond'",
                "at = 'infinity'",
                # The same digits before Christ.
                "at = CAST(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || ' UTC BC' AS timestamptz)",
                "event = 'user.deleted'",
                "actor_id = 7",
                "actor_id = NULL",
                "subject_id = 7",
                "key_id = 7",
                "address = '192.0.2.2'",
                "address = NULL",
                "user_agent = ''",
                "request_id = 'x'",
                'details = details || \'{"by": "google"}\'',
                "details = '{}'",
                "hash = (SELECT hash FROM audit_events WHERE seq = 4)",
                "hash = '\\x00'",
            )
        ),
        ("UPDATE audit_events SET id = DEFAULT WHERE seq = 5", ("changed", 5, 11)),
        ("UPDATE audit_events SET event = 'x' WHERE seq = 10", ("changed", 10, 10)),
        # Removed: in the middle, several, with the places closed up, at the beginning, and at the end.
        ("DELETE FROM audit_events WHERE seq = 5", ("removed", 5, 6)),
        ("DELETE FROM audit_events WHERE seq IN (5, 6, 9)", ("removed", 5, 7)),
        (f"{_REMOVE} WHERE seq = 5; {_SHIFT_DOWN}", ("removed", 5, 6)),
        ("DELETE FROM audit_events WHERE seq <= 3", ("removed", 1, 4)),
        ("DELETE FROM audit_events WHERE seq > 8", ("removed", 9, None)),
        ("DELETE FROM audit_events", ("removed", 1, None)),
        # Put in between: with the others moved up, with a place that is taken, and before the beginning.
        (f"{_SHIFT_UP}; {_FORGED}, 5, hash FROM audit_events WHERE seq = 4", ("put-in", 5, 99)),
        (
            f"DROP INDEX uq_audit_events_seq; {_FORGED}, 5, hash FROM audit_events WHERE seq = 5",
            ("put-in", 5, 99),
        ),
        (f"{_FORGED}, 0, hash FROM audit_events WHERE seq = 5", ("put-in", 0, 99)),
        # The lowest numbers there are, which no page that begins behind them would show.
        (f"{_LOWEST}, {-(2**63)}, hash FROM audit_events WHERE seq = 5", ("put-in", -(2**63), -(2**63))),
        (f"{_LOWEST}, NULL, NULL FROM audit_events WHERE seq = 5", ("put-in", None, -(2**63))),
        # In another order.
        (
            f"{_CHANGE} seq = 50 WHERE seq = 5; {_CHANGE} seq = 5 WHERE seq = 6; {_CHANGE} seq = 6 WHERE seq = 50",
            ("put-in", 5, 6),
        ),
        # Without a place or without a hash.
        ("UPDATE audit_events SET seq = NULL, hash = NULL WHERE seq = 5", ("removed", 5, 6)),
        ("UPDATE audit_events SET seq = NULL, hash = NULL WHERE seq > 8", ("removed", 9, None)),
        (
            f"ALTER TABLE audit_events DROP CONSTRAINT {_WHOLE}; {_CHANGE} hash = NULL WHERE seq = 5",
            ("changed", 5, 5),
        ),
        # Checkpoints.
        ("UPDATE audit_checkpoints SET seq = 4", ("checkpoint", 4, None)),
        ("UPDATE audit_checkpoints SET at = at - interval '1 day'", ("checkpoint", 10, None)),
        ("UPDATE audit_checkpoints SET kind = 'start'", ("checkpoint", 10, None)),
    ],
)
async def test_what_the_owner_of_the_database_does_is_found(
    trail: Trail, statement: str, problem: tuple[str, int | None, int | None]
) -> None:
    await trail.add(10)
    await trail.chain()
    assert await trail.problem() is None
    async with trail.owner() as owner:
        await owner.run(*statement.split(";"))
    try:
        assert await trail.problem() == problem
    finally:
        await _restore_schema(trail)


async def _restore_schema(trail: Trail) -> None:
    async with trail.owner() as owner:
        await owner.run(
            "TRUNCATE audit_events",
            "CREATE UNIQUE INDEX IF NOT EXISTS uq_audit_events_seq ON audit_events (seq) WHERE seq IS NOT NULL",
            f"ALTER TABLE audit_events DROP CONSTRAINT IF EXISTS {_WHOLE}",
            f"ALTER TABLE audit_events ADD CONSTRAINT {_WHOLE} CHECK ((seq IS NULL) = (hash IS NULL))",
        )


@pytest.mark.parametrize("is_chained", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        # Under an unused id with the time of now or of then, under a new id with an old time, before the beginning.
        "4, now()",
        "4, now() - interval '9 hours'",
        "100, now() - interval '9 hours'",
        "-3, now()",
        f"{-(2**63)}, now()",
        "100, '-infinity'",
        "100, 'infinity'",
        # Tomorrow's date before Christ.
        "100, CAST(to_char(now() + interval '1 day', 'YYYY-MM-DD') || ' BC' AS timestamptz)",
    ],
)
async def test_a_record_put_in_with_no_place_is_found_before_and_after_the_service_chains_it(
    trail: Trail, values: str, is_chained: bool
) -> None:
    await trail.add(3, age=timedelta(hours=10))
    async with trail.owner() as owner:
        await owner.run("SELECT setval('audit_events_id_seq', 4)")
    await trail.add(3, age=timedelta(hours=8))
    await trail.chain()
    assert await trail.problem() is None
    async with trail.owner() as owner:
        await owner.run(f"{_ADD} OVERRIDING SYSTEM VALUE VALUES ({values}, 'user.deleted')")
    if is_chained:
        await trail.chain()
    assert await trail.problem() == ("put-in", 7 if is_chained else None, int(values.partition(",")[0]))


async def test_a_record_with_place_and_id_of_another_at_the_end_of_a_page_is_found(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PAGE", 5)
    await trail.add(10)
    await trail.chain()
    async with trail.owner() as owner:
        await owner.run(
            "DROP INDEX uq_audit_events_seq",
            "ALTER TABLE audit_events DROP CONSTRAINT pk_audit_events",
            "INSERT INTO audit_events (id, at, event, actor_id, subject_id, address, user_agent, request_id, details,"
            " seq, hash) OVERRIDING SYSTEM VALUE SELECT id, at, event, actor_id, subject_id, address, user_agent,"
            " request_id, details, seq, hash FROM audit_events WHERE seq = 5",
        )
    try:
        assert await trail.problem() == ("put-in", None, None)
    finally:
        await _restore_schema(trail)
        async with trail.owner() as owner:
            await owner.run("ALTER TABLE audit_events ADD CONSTRAINT pk_audit_events PRIMARY KEY (id)")


@pytest.mark.parametrize("table", ["audit_events", "audit_checkpoints"])
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE {0} FORCE ROW LEVEL SECURITY",
        "CREATE POLICY hides ON {0} USING (id <> 5)",
        "CREATE RULE none AS ON INSERT TO {0} DO INSTEAD NOTHING",
        "ALTER TABLE {0} RENAME TO hidden; CREATE VIEW {0} AS SELECT * FROM hidden WHERE id <> 5",
        "ALTER TABLE {0} RENAME TO hidden",
    ],
)
async def test_what_can_hide_records_is_found(trail: Trail, table: str, statement: str) -> None:
    await trail.add(3)
    await trail.chain()
    async with trail.database.writing() as connection:
        # In a transaction that is taken back.
        for each in statement.format(table).split(";"):
            await connection.exec_driver_sql(each)
        cover = await chain_repository.find_cover(connection)
        await connection.rollback()
    assert cover is not None
    assert cover.startswith(f"the table {table} ")
    assert await trail.problem() is None


async def test_row_level_security_is_the_problem_that_is_reported(trail: Trail) -> None:
    await trail.add(3)
    await trail.chain()
    async with trail.owner() as owner:
        await owner.run("ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY")
    try:
        assert await trail.problem() == ("hidden", None, None)
    finally:
        async with trail.owner() as owner:
            await owner.run("ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY")


async def test_the_key_of_the_tokens_makes_no_chain_beside_an_own_secret(trail: Trail) -> None:
    """Other parts have that key: with it and the rights of the owner they could write every record anew."""
    own = {"auth_secret_key": SecretStr(secrets.token_hex(32)), "auth_previous_secret_keys": ()}
    service = Trail(trail.settings.model_copy(update=own), trail.database)
    other_part = Trail(trail.settings.model_copy(update={"auth_secret_key": None}), trail.database)
    await trail.add(3)
    await other_part.chain()
    assert await other_part.problem() is None
    assert await service.problem() == ("checkpoint", 3, None)
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_checkpoints")
    assert await service.problem() == ("unknown-key", 1, 1)
    # An installation that set its secret later says so.
    own["auth_previous_secret_keys"] = (trail.settings.paseto_secret_key,)
    assert await Trail(trail.settings.model_copy(update=own), trail.database).problem() is None


async def test_a_chain_outlives_the_rotation_of_keys(trail: Trail) -> None:
    await trail.add(3)
    await trail.chain()
    old = trail.settings.auth_secret_key or trail.settings.paseto_secret_key
    new = trail.settings.model_copy(
        update={"auth_secret_key": SecretStr(secrets.token_hex(32)), "auth_previous_secret_keys": (old,)}
    )
    rotated = Trail(new, trail.database)
    await trail.add(3)
    await rotated.chain()
    assert (await rotated.verify()).records == 6
    assert await rotated.problem() is None
    # The former key alone does not know what the new one has made.
    assert await trail.problem() == ("checkpoint", 6, None)
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_checkpoints")
    assert await trail.problem() == ("unknown-key", 4, 4)


async def test_many_records_are_verified_page_by_page(trail: Trail) -> None:
    await trail.add(5000)
    await trail.chain()
    async with trail.owner() as owner:
        await owner.run("UPDATE audit_events SET event = 'x' WHERE seq = 4567")
    assert await trail.problem() == ("changed", 4567, 4567)
