"""What a search finds, and that no text breaks it."""

import re

import httpx
import pytest
from content_support import Posts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kpi_content.posts.search import SearchTerms, parse_search

TITLES = {
    "Postgres high-availability cluster": "",
    "PostgreSQL 9.5 released": "https://www.postgresql.org/docs/9.5/index.html",
    "Faster databases": "A talk on MySQL/Postgres at Node.js Interactive",
    "A database in Node": "written in js; the <b>bold</b> kind",
    "The Who play again": "They won't get fooled again",
    "Who is the owner?": "It's state-of-the-art. C++, not C#",
    "Über naïve café": "мир, 世界",
}


async def found(client: httpx.AsyncClient, search: str) -> set[str]:
    answer = await client.get("/posts", params={"search": search, "limit": 100})
    assert answer.status_code == 200, answer.text
    return {item["title"].split()[0] for item in answer.json()["items"]}


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        # A word in any case and form, in title or content; the last may be the beginning of one.
        ("postgres", {"Postgres", "PostgreSQL", "Faster"}),
        ("POSTGRES", {"Postgres", "PostgreSQL", "Faster"}),
        ("postg", {"Postgres", "PostgreSQL", "Faster"}),
        ("postg cluster", set()),
        ("database", {"Faster", "A"}),
        ("databases", {"Faster", "A"}),
        ("releasing", {"PostgreSQL"}),
        # All words are wanted, wherever they stand.
        ("cluster postgres", {"Postgres"}),
        ("postgres mysql", {"Faster"}),
        ("cluster mysql", set()),
        # Words inside of addresses, paths, tags and compounds.
        ("mysql", {"Faster"}),
        ("index", {"PostgreSQL"}),
        ("availability", {"Postgres"}),
        ("bold", {"A"}),
        # A phrase is wanted as written, small words included.
        ('"the who"', {"The"}),
        ('"who is the"', {"Who"}),
        ('"postgres"', {"Postgres", "Faster"}),
        ('"database"', {"A"}),
        ('"again the who"', set()),
        ("Node.js", {"Faster"}),
        ("node.j", {"Faster"}),
        ("state-of-the-art", {"Who"}),
        ('"high availability" postgres', {"Postgres"}),
        # An exclusion.
        ("postgres -mysql", {"Postgres", "PostgreSQL"}),
        ("database -node", set()),
        ("node -database", set()),
        ('again -"the who"', set()),
        ("-postgres -database -postgresql -who", {"Über"}),
        ("postgres -clusters", {"PostgreSQL", "Faster"}),
        # Small words alone are looked for as they are.
        ("play the", {"The"}),
        ("who", {"The", "Who"}),
        # A mark after the last word ends it.
        ("postg.", set()),
        ("C++", {"Who"}),
        # Other alphabets, in any case.
        ("ÜBER", {"Über"}),
        ("café", {"Über"}),
        ("МИР", {"Über"}),
        ("世界", {"Über"}),
        # Nothing that can be searched finds nothing.
        ("!!!", set()),
        ("-", set()),
        ('""', set()),
        ("😀", set()),
        # Marks with a meaning for PostgreSQL have none here.
        ("postgres:* & mysql | !who", set()),
        ("postgres & mysql", {"Faster"}),
        ("cluster'", {"Postgres"}),
        ('"cluster', {"Postgres"}),
        ("cluster\\", {"Postgres"}),
        ("postgres <-> high", {"Postgres"}),
    ],
)
async def test_what_is_found(client: httpx.AsyncClient, posts: Posts, search: str, expected: set[str]) -> None:
    for title, content in TITLES.items():
        await posts.add(title, content=content)
    assert await found(client, search) == expected


@pytest.mark.parametrize("search", ["", " ", "\t\n", "\u2003"])
async def test_a_blank_search_is_none(client: httpx.AsyncClient, posts: Posts, search: str) -> None:
    await posts.add("anything")
    assert await found(client, search) == {"anything"}


async def test_a_changed_post_is_found_by_its_new_words_only(client: httpx.AsyncClient, posts: Posts) -> None:
    post = await posts.add("old words")
    await posts.execute("UPDATE posts SET title = 'new text' WHERE id = :id", id=post["id"])
    assert await found(client, "old") == set()
    assert await found(client, "text") == {"new"}


async def test_search_keeps_to_the_order_that_is_asked(client: httpx.AsyncClient, posts: Posts) -> None:
    for number in range(5):
        await posts.add(f"{number} bees")
    await posts.execute("UPDATE posts SET votes = substr(title, 1, 1)::int * 3 % 5")
    answer = await client.get("/posts", params={"search": "bee", "sort": "top"})
    assert [item["votes"] for item in answer.json()["items"]] == [4, 3, 2, 1, 0]


NASTY = "'\"\\:*&|!()<->- \t\n%_$;ab1é世😀\u0301\u200b\ufeff\u2028"


@given(st.one_of(st.text(max_size=200), st.text(alphabet=NASTY, max_size=40)))
@settings(max_examples=300, deadline=None)
def test_no_mark_of_a_query_comes_through(search: str) -> None:
    """What is typed reaches to_tsquery as quoted words only: the operators around them are the parser's own."""
    terms = parse_search(search)
    term = r"'[^'\\:*&|!<>()]+'"
    assert re.fullmatch(rf"({term}( & {term})*)?", terms.phrases)
    assert re.fullmatch(rf"({term}( \| {term})*)?", terms.excluded)
    assert re.fullmatch(rf"({term}(:\*)?)?", terms.last_prefix)


@pytest.mark.parametrize("alphabet", [None, NASTY])
async def test_no_text_is_answered_with_an_error(client: httpx.AsyncClient, alphabet: str | None) -> None:
    texts: list[str] = []

    @given(st.text(alphabet=alphabet, max_size=60) if alphabet else st.text(max_size=60))
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def collect(search: str) -> None:
        texts.append(search)

    collect()
    for search in texts:
        if not any(0xD800 <= ord(letter) < 0xE000 for letter in search):
            answer = await client.get("/posts", params={"search": search})
            refused = "\0" in search or "\ufffd" in search
            assert answer.status_code == (422 if refused else 200), (search, answer.text)


def test_the_parts_of_a_search() -> None:
    assert parse_search('quick "brown fox" -lazy -"old dog" Node.js jum') == SearchTerms(
        words="quick",
        phrases="'brown fox' & 'Node js'",
        last_word="jum",
        last_prefix="'jum':*",
        excluded="'lazy' | 'old dog'",
    )


def test_a_long_phrase_is_cut_and_the_rest_wanted_word_by_word() -> None:
    """PostgreSQL's work on a phrase grows with its words, so that a stranger could keep it busy with a long one."""
    terms = parse_search(".".join("abcdefghijkl"))
    assert terms.phrases == "'a b c d e f g h'"
    assert f"{terms.words} {terms.last_word}".split() == list("ijkl")
    assert parse_search('-"a b c d e f g h i j"').excluded == "'a b c d e f g h'"
