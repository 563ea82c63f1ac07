"""The plans of pages and searches: that their cost depends on nothing else is tested by what they read, not by time."""

from typing import Any

import pytest
from content_support import ANNA, Posts
from conversations_support import Conversations
from kpi_content.messages.repository import page_statement, search_statement
from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.sql.elements import CompilerElement

LIMIT = 11
MANY = 12_000
# One long conversation, and many short ones, after which the average is small.
ADD_MANY = """
    INSERT INTO messages (conversation_id, number, role, content, author_id)
    SELECT :long, n, 'user', format('common n%s', n % 500), 11 FROM generate_series(1, :many) AS n
    UNION ALL
    SELECT id, n, 'user', format('common n%s', n), 11 FROM conversations, generate_series(1, 3) AS n WHERE id <> :long
"""
ADD_CONVERSATIONS = """
    WITH more AS (
        INSERT INTO conversations (title, owner_id) SELECT 'more', :owner FROM generate_series(1, :count) RETURNING id
    )
    INSERT INTO conversation_members (conversation_id, user_id, role) SELECT id, :owner, 'owner' FROM more
"""
# Sizes at which the planner, if it may, reads the index once for each conversation of the caller, or all messages.
FEW, MOST = 50, 5_000
ADD_MEMBERS = """
    WITH more AS (
        INSERT INTO authors (id, username) SELECT n, 'u' || n FROM generate_series(100, 1100) AS n RETURNING id
    )
    INSERT INTO conversation_members (conversation_id, user_id, role) SELECT :long, id, 'reader' FROM more
"""
ADD_LONG_TEXTS = """
    INSERT INTO messages (conversation_id, number, role, content, author_id)
    SELECT :long, :many + n, 'user', 'common words n' || n || repeat(' filler text of a message', 4), 11
    FROM generate_series(1, 10 * :each) AS n
    UNION ALL
    SELECT id, 3 + n, 'user', 'common words', 99 FROM conversations, generate_series(1, 2) AS n WHERE id <> :long
"""
LEAVE_MOST = """
    DELETE FROM conversation_members WHERE user_id = 99 AND conversation_id NOT IN (
        SELECT conversation_id FROM conversation_members WHERE user_id = 99 ORDER BY conversation_id LIMIT :few
    )
"""
NOTHING = {"words": "", "phrases": "", "last_word": "", "last_prefix": "", "excluded": ""}


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


async def plan_of(posts: Posts, statement: Executable, **values: Any) -> list[dict[str, Any]]:
    assert isinstance(statement, CompilerElement)
    compiled = statement.compile(dialect=dialect())
    async with posts.app.state.database.reading() as connection:
        result = await connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {compiled}", compiled.construct_params(values)
        )
        return nodes(result.scalar_one()[0]["Plan"])


def rows_read(plan: list[dict[str, Any]]) -> float:
    """The rows of messages that the scans returned and those that their filters removed."""
    scans = [node for node in plan if node.get("Relation Name") == "messages"]
    return sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in scans)


async def fill(conversations: Conversations, *, of_others: int = 200) -> int:
    """The id of anna's conversation with many messages; the others belong to another user."""
    execute = conversations.posts.execute
    await execute("SET LOCAL statement_timeout = '60s'")
    await execute("TRUNCATE conversations CASCADE")
    address = await conversations.add()
    await execute("INSERT INTO authors (id, username) VALUES (99, 'other')")
    await execute(ADD_CONVERSATIONS, owner=99, count=of_others)
    conversation_id = int(address.rpartition("/")[2])
    await execute(ADD_MANY, long=conversation_id, many=MANY)
    await execute("SELECT gin_clean_pending_list('ix_messages_search')")
    await execute("ANALYZE messages, conversations, conversation_members, authors")
    return conversation_id


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_a_page_costs_the_same_at_any_depth(conversations: Conversations, mode: str) -> None:
    conversation_id = await fill(conversations)
    await conversations.posts.execute(f"SET LOCAL plan_cache_mode = {mode}")
    for is_backwards in (False, True):
        statement = page_statement(is_backwards=is_backwards, size=LIMIT)
        blocks_read = []
        for place in (20, MANY - 20):
            plan = await plan_of(conversations.posts, statement, conversation=conversation_id, caller=ANNA, place=place)
            kinds = {node["Node Type"] for node in plan}
            assert not kinds & {"Sort", "Incremental Sort"}, (place, kinds)
            assert rows_read(plan) == LIMIT
            blocks_read.append(plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"])
        shallow, deep = blocks_read
        assert abs(deep - shallow) <= 2 * LIMIT, blocks_read


async def test_a_search_reads_only_what_the_caller_may_see(conversations: Conversations) -> None:
    """However frequent the word is in the conversations of others."""
    await fill(conversations)
    address = await conversations.add()
    await conversations.write(address, "common words")
    conversation_id = int(address.rpartition("/")[2])
    terms = NOTHING | {"last_word": "common", "last_prefix": "'common':*"}
    values = {"caller": ANNA, "conversation": conversation_id, "place": 2**62, "most": LIMIT}
    in_one = await plan_of(conversations.posts, search_statement(in_one=True), **terms, **values)
    assert rows_read(in_one) <= 2
    in_all = await plan_of(conversations.posts, search_statement(in_one=False), **terms, **values | {"caller": 99})
    assert "ix_messages_search" in {node.get("Index Name") for node in in_all}
    # Of anna's 12,000 messages none is read; those of the page are read twice.
    assert rows_read(in_all) == 600 + LIMIT


async def test_a_search_reads_the_index_once(conversations: Conversations) -> None:
    """However many conversations the caller has, and however many messages others have."""
    long = await fill(conversations, of_others=MOST)
    execute = conversations.posts.execute
    await execute(ADD_LONG_TEXTS, long=long, many=MANY, each=MOST)
    await execute(ADD_MEMBERS, long=long)
    await execute("SELECT gin_clean_pending_list('ix_messages_search')")
    terms = NOTHING | {"last_word": "common", "last_prefix": "'common':*"}
    for few in (MOST, FEW):
        await execute(LEAVE_MOST, few=few)
        await execute("ANALYZE messages, conversations, conversation_members, authors")
        values = {"caller": 99, "place": 2**62, "most": LIMIT}
        plan = await plan_of(conversations.posts, search_statement(in_one=False), **terms, **values)
        loops = [node["Actual Loops"] for node in plan if node.get("Index Name") == "ix_messages_search"]
        assert loops == [1], (few, loops)
        assert [node for node in plan if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "messages"] == []
