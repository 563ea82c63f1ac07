"""The content database at several sizes: posts generated from the real ones' words, with ten votes each."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from psycopg import sql

from kpi_bench.harness import report
from kpi_bench.platform_stack import POSTS, Database

SIZES = {"20 thousand": POSTS, "200 thousand": 200_000, "2 million": 2_000_000}
VOTES = 10
# The size of one post with its votes, their indexes and the WAL, measured at 2 million posts.
BYTES_PER_POST = 5_000
# Data lost in a crash can be built again, so nothing here waits for the disk.
BUILDING = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "maintenance_work_mem": "512MB",
}
# The real posts' titles in two halves, so that rare words stay rare and common ones common in the generated titles.
_REAL = """
    CREATE TABLE bench_real AS
    SELECT row_number() OVER (ORDER BY id) - 1 AS n, owner_id, content,
           array_to_string(words[: cardinality(words) / 2], ' ') AS head,
           array_to_string(words[cardinality(words) / 2 + 1 :], ' ') AS tail
    FROM (SELECT id, owner_id, content, string_to_array(title, ' ') AS words FROM posts) AS split
"""
# The factors have no divisor in common with 20,100, so that each half is combined with all others.
_POSTS = """
    INSERT INTO posts (id, owner_id, title, content, date, updated_at, votes)
    SELECT id, tail.owner_id, left(head.head || ' ' || tail.tail, 300), tail.content, made, made, {votes}
    FROM (
        SELECT id, first + (id * 7919 % 31536000) * interval '1 second' + id * interval '1 microsecond' AS made
        FROM generate_series({low}::bigint, {high}::bigint) AS id, (SELECT min(date) AS first FROM posts) AS begun
    ) AS numbered
    JOIN bench_real AS head ON head.n = id * 7919 % {real}
    JOIN bench_real AS tail ON tail.n = (id * 6007 + id / {real}) % {real}
"""
_VOTES = """
    INSERT INTO votes (post_id, user_id)
    SELECT post_id, post_id * 37 % 5000 + turn * 500
    FROM generate_series({low}::bigint, {high}::bigint) AS post_id, generate_series(1, {votes}) AS turn
"""
_INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename = 'posts'
        AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""


def database_name(size: str) -> str:
    return f"bench_growth_{size.replace(' ', '_')}"


def build(database: Database, sizes: dict[str, int]) -> None:
    """Build each size from a copy of the one before; the first has only the real posts."""
    before, posts = "kpi_content", POSTS
    for name, count in sizes.items():
        database.copy(before, database_name(name), owner="kpi_content")
        if count > posts:
            grow(database, database_name(name), posts + 1, count)
        before, posts = database_name(name), count
        report(f"{count:,} posts created")


def grow(database: Database, name: str, low: int, high: int) -> None:
    """Add posts from one id to another; indexes are created afterwards, as for any load of this size."""
    with database.connect(name) as connection:
        indexes = connection.execute(_INDEXES).fetchall()
        connection.execute("DROP TABLE IF EXISTS bench_real")
        connection.execute(_REAL)
        for index, _ in indexes:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index)))
    middle = (low + high) // 2
    inserts = [_insert(_POSTS, low, middle), _insert(_POSTS, middle + 1, high), _insert(_VOTES, low, high)]
    _run_in_parallel([_statement(database, name, insert) for insert in inserts])
    _run_in_parallel([_statement(database, name, sql.SQL(definition)) for _, definition in indexes])
    with database.connect(name) as connection:
        connection.execute("DROP TABLE bench_real")
        connection.execute("SELECT setval(pg_get_serial_sequence('posts', 'id'), (SELECT max(id) FROM posts))")
        connection.execute("VACUUM (ANALYZE)")


def _insert(statement: str, low: int, high: int) -> sql.Composed:
    numbers = {"low": low, "high": high, "votes": VOTES, "real": POSTS}
    return sql.SQL(statement).format(**{name: sql.Literal(number) for name, number in numbers.items()})


def _statement(database: Database, name: str, statement: sql.SQL | sql.Composed) -> Callable[[], None]:
    def run() -> None:
        with database.connect(name) as connection:
            # Foreign keys are triggers, whose checks would take longer than all else; the generated rows satisfy them.
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement)

    return run


def _run_in_parallel(steps: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(steps)) as pool:
        for done in [pool.submit(step) for step in steps]:
            done.result()
