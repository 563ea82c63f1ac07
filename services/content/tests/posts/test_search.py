"""What a search finds, and that every text is a valid search."""

import json
import re
import unicodedata
from pathlib import Path

import httpx
import psycopg
import pytest
from content_support import Posts
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from kpi_content.search.terms import MAX_EXCLUSIONS, MAX_WORDS, SearchTerms, count_terms, parse_search
from kpi_content.search.words import fold, split_words
from kpi_content.settings import PART, ContentSettings
from kpi_shared.migrations import upgrade
from kpi_shared.testing.postgres import create_database
from pydantic import SecretStr

TITLES = {
    "Postgres high-availability cluster": "",
    "PostgreSQL 9.5 released": "https://www.postgresql.org/docs/9.5/index.html",
    "Faster databases": "A talk on MySQL/Postgres at Node.js Interactive",
    "A database in Node": "written in js; the <b>bold</b> kind",
    "The Who play again": "They won't get fooled again",
    "Who is the owner?": "It's state-of-the-art. C++, not C#",
    "Über naïve café": "мир, 世界",
}

# Texts as people type them, and the searches that must find each. tests/compose reads this table, too.
SPELLINGS = [
    pytest.param(each["text"], each["found_by"], id=str(number))
    for number, each in enumerate(json.loads((Path(__file__).parent / "spellings.json").read_text("utf-8")))
]


async def search_titles(client: httpx.AsyncClient, search: str) -> set[str]:
    response = await client.get("/posts", params={"search": search, "limit": 100})
    assert response.status_code == 200, response.text
    return {item["title"].split()[0] for item in response.json()["items"]}


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        # A word in any case and form, in title or content; the last word may be a prefix.
        ("postgres", {"Postgres", "PostgreSQL", "Faster"}),
        ("POSTGRES", {"Postgres", "PostgreSQL", "Faster"}),
        ("postg", {"Postgres", "PostgreSQL", "Faster"}),
        ("postg cluster", set()),
        ("database", {"Faster", "A"}),
        ("databases", {"Faster", "A"}),
        ("releasing", {"PostgreSQL"}),
        # All words are required, in any order and place.
        ("cluster postgres", {"Postgres"}),
        ("postgres mysql", {"Faster"}),
        ("cluster mysql", set()),
        # Words inside URLs, paths, tags and compounds.
        ("mysql", {"Faster"}),
        ("index", {"PostgreSQL"}),
        ("availability", {"Postgres"}),
        ("bold", {"A"}),
        # A phrase is found as written, stop words included.
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
        # A search for stop words only finds them as written.
        ("play the", {"The"}),
        ("who", {"The", "Who"}),
        # A punctuation mark after the last word ends it, so it is no prefix.
        ("postg.", set()),
        ("C++", {"Who"}),
        # Other alphabets, in any case.
        ("ÜBER", {"Über"}),
        ("café", {"Über"}),
        ("МИР", {"Über"}),
        ("世界", {"Über"}),
        # A text without words finds nothing.
        ("!!!", set()),
        ("-", set()),
        ('""', set()),
        ("😀", set()),
        # Operators of PostgreSQL are only separators here.
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
    assert await search_titles(client, search) == expected


@pytest.mark.parametrize(("title", "searches"), SPELLINGS)
async def test_every_spelling_finds_the_text(
    client: httpx.AsyncClient, posts: Posts, title: str, searches: list[str]
) -> None:
    post = await posts.add(title)
    content = await posts.add("content", content=title)
    await posts.add("something else")
    for search in searches:
        found = (await client.get("/posts", params={"search": search})).json()["items"]
        assert {item["id"] for item in found} == {post["id"], content["id"]}, search


@pytest.mark.parametrize(
    ("title", "search"),
    [("cafeteria", '"café"'), ("caff", "café"), ("мир", "mir"), ("naïvely", '"naive"'), ("isik", "asik"), ("か", "が")],
)
async def test_other_words_are_not_found(client: httpx.AsyncClient, posts: Posts, title: str, search: str) -> None:
    await posts.add(title)
    assert (await client.get("/posts", params={"search": search})).json()["items"] == []


LOCALES = {
    # The local stack, the containers and other tests.
    "both stacks": "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C'",
    # Volumes that earlier containers made.
    "earlier containers": "LOCALE_PROVIDER libc LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'",
    "bare": "LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'",
}


def test_the_index_and_the_query_are_the_same_in_each_locale(settings: ContentSettings, worker: str) -> None:
    """Whatever PostgreSQL's parser makes of characters outside ASCII: the function leaves it no choice."""
    texts = [each.values[0] for each in SPELLINGS]
    vectors = {}
    for name, locale in LOCALES.items():
        options = f"TEMPLATE template0 ENCODING 'UTF8' {locale}"
        url = create_database(f"content_{name.partition(' ')[0]}_{worker}", options=options)
        upgrade(PART, settings.model_copy(update={"database_url": SecretStr(url)}))
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO authors VALUES (1, 'anna')")
            add = "INSERT INTO posts (owner_id, title, content) SELECT 1, title, title FROM unnest(%s::text[]) AS title"
            connection.execute(add, [texts])
            vectors[name] = connection.execute("SELECT title, search::text FROM posts ORDER BY id").fetchall()
    assert len(vectors["both stacks"]) == len(texts)
    assert vectors["both stacks"] == vectors["earlier containers"] == vectors["bare"]


async def test_a_search_is_folded_as_the_index_is(posts: Posts) -> None:
    """For every character that this Python knows, between two letters."""
    known = [
        character
        for character in map(chr, range(1, 0x30000))
        if unicodedata.category(character) not in {"Cn", "Cs", "Co"}
    ]
    texts = [f"a{character}b" for character in known]
    rows = await posts.rows("SELECT search_words(given) FROM unnest(CAST(:texts AS text[])) AS given", texts=texts)
    by_python = [" ".join(split_words(fold(given))) for given in texts]
    different = [
        (f"U+{ord(character):04X}", row[0], python)
        for character, row, python in zip(known, rows, by_python, strict=True)
        if " ".join(row[0].split(" ")).strip() != python
    ]
    assert different == []


@pytest.mark.parametrize("search", ["", " ", "\t\n", "\u2003"])
async def test_a_blank_search_is_no_filter(client: httpx.AsyncClient, posts: Posts, search: str) -> None:
    await posts.add("anything")
    assert await search_titles(client, search) == {"anything"}


async def test_a_changed_post_is_found_by_its_new_words_only(client: httpx.AsyncClient, posts: Posts) -> None:
    post = await posts.add("old words")
    await posts.execute("UPDATE posts SET title = 'new text' WHERE id = :id", id=post["id"])
    assert await search_titles(client, "old") == set()
    assert await search_titles(client, "text") == {"new"}


async def test_a_search_has_the_requested_order(client: httpx.AsyncClient, posts: Posts) -> None:
    for number in range(5):
        await posts.add(f"{number} bees")
    await posts.execute("UPDATE posts SET votes = substr(title, 1, 1)::int * 3 % 5")
    response = await client.get("/posts", params={"search": "bee", "sort": "top"})
    assert [item["votes"] for item in response.json()["items"]] == [4, 3, 2, 1, 0]


NASTY = "'\"\\:*&|!()<->- \t\n%_$;ab1é世😀\u0301\u200b\ufeff\u2028"


@given(st.one_of(st.text(max_size=200), st.text(alphabet=NASTY, max_size=40)))
@hypothesis_settings(max_examples=300, deadline=None)
def test_no_operator_of_a_search_reaches_the_query(search: str) -> None:
    """The text reaches to_tsquery as quoted words only; the operators between them come from the parser."""
    terms = parse_search(search)
    term = r"'[^'\\:*&|!<>()]+'"
    assert re.fullmatch(rf"({term}( & {term})*)?", terms.phrases)
    assert re.fullmatch(rf"({term}( \| {term})*)?", terms.excluded)
    assert re.fullmatch(rf"({term}(:\*)?)?", terms.last_prefix)


@pytest.mark.parametrize("alphabet", [None, NASTY])
async def test_no_text_causes_an_error(client: httpx.AsyncClient, alphabet: str | None) -> None:
    texts: list[str] = []

    @given(st.text(alphabet=alphabet, max_size=60) if alphabet else st.text(max_size=60))
    @hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def collect(search: str) -> None:
        texts.append(search)

    collect()
    for search in texts:
        if not any(0xD800 <= ord(letter) < 0xE000 for letter in search):
            response = await client.get("/posts", params={"search": search})
            terms = count_terms(search)
            too_many = terms.words > MAX_WORDS or terms.exclusions > MAX_EXCLUSIONS
            refused = "\0" in search or "\ufffd" in search or too_many
            assert response.status_code == (422 if refused else 200), (search, response.text)


def test_the_parts_of_a_search() -> None:
    assert parse_search('quick "brown fox" -lazy -"old dog" Node.js jum') == SearchTerms(
        words="quick",
        phrases="'brown fox' & 'node js'",
        last_word="jum",
        last_prefix="'jum':*",
        excluded="'lazy' | 'old dog'",
    )


def test_the_words_beyond_the_longest_phrase_are_searched_one_by_one() -> None:
    """A phrase costs PostgreSQL more with each word, so that a client could use long phrases to overload it."""
    terms = parse_search(".".join("abcdefghijkl"))
    assert terms.phrases == "'a b c d e f g h'"
    assert f"{terms.words} {terms.last_word}".split() == list("ijkl")
    assert parse_search('-"a b c d e f g h i j"').excluded == "'a b c d e f g h'"
