import gzip
import json
import re
import unicodedata
from pathlib import Path

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.layout import find
from kpi_cli.loading import posts, voters

SAMPLE = find().sample_data
needs_sample = pytest.mark.skipif(not SAMPLE.exists(), reason="this project was made without the sample posts")
GOOD = {
    "id": 10176908,
    "author": "mycodebreaks",
    "title": "A title",
    "url": "http://a.test/",
    "points": 1,
    "comments": 2,
    "created_at": "2015-09-06T05:56Z",
}


def line(**changes: object) -> str:
    return json.dumps({**GOOD, **changes})


def test_plain_and_gzipped_files_give_the_same_posts(tmp_path: Path) -> None:
    text = line() + "\n\n" + line(id=2, author="mjn", points=2) + "\n"
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    assert posts.read(plain) == posts.read(packed)
    assert [post.line for post in posts.read(plain)] == [1, 3]
    assert posts.read(plain)[0].created_at.isoformat() == "2015-09-06T05:56:00+00:00"


def test_a_byte_order_mark_is_accepted_at_the_beginning_of_the_file_alone(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    text = f"\ufeff{line()}\r\n{line(id=2)}\r\n".encode()
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    assert [post.id for post in posts.read(plain)] == [GOOD["id"], 2]
    assert posts.read(plain) == posts.read(packed)
    plain.write_text(f"{line()}\n\ufeff{line(id=2)}\n")
    with pytest.raises(FailureError, match="line 2: it is not JSON"):
        posts.read(plain)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("{", "it is not JSON"),
        pytest.param("[" * 100_000, "it is not JSON", id="too deep"),
        ("[1]", "it is not a JSON object"),
        (line(id=2**63), "field id: a number from 0 to"),
        (line(id=True), "field id: a whole number is required, not a boolean"),
        (line(id=GOOD["id"]), "field id: 10176908 is already in line 1"),
        (line(id=3, author=""), "field author: 1 to 32 characters are required, and it has 0"),
        (line(id=3, author="a b"), "field author: only letters"),
        (
            line(id=3, author="MyCodeBreaks"),
            "field author: MyCodeBreaks and mycodebreaks in line 1 differ only in case",
        ),
        (line(id=3, title=""), "field title: 1 to 300 characters are required, and it has 0"),
        (line(id=3, title="a\0b"), "field title: it has a character that the database cannot store"),
        (line(id=3, title="\ud800"), "field title: it has a character"),
        (line(id=3, url=None), "field url: a string is required, not null"),
        (line(id=3, points=-1), "field points: a number from 0 to"),
        (line(id=3, points=2.5), "field points: a whole number is required, not a fraction"),
        (line(id=3, points=2), "field points: 2 votes need as many different authors, but the file has only 1"),
        (line(id=3, comments="many"), "field comments: a whole number is required, not a string"),
        (line(id=3, created_at="yesterday"), "field created_at: a time like"),
        (line(id=3, created_at=5), "field created_at: a time like"),
        (line(id=3, created_at="2015-09-06T05:56"), "field created_at: the time zone is missing"),
        ('{"id": 3}', "field comments: it is missing"),
    ],
)
def test_bad_line_is_reported_with_file_line_and_field(tmp_path: Path, bad: str, problem: str) -> None:
    file = tmp_path / "posts.jsonl"
    file.write_text(line() + "\n" + bad + "\n")
    with pytest.raises(FailureError) as caught:
        posts.read(file)
    assert caught.value.sentence.startswith(f"{file} line 2: {problem}")


def test_bytes_that_are_not_utf8_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "posts.jsonl"
    file.write_bytes(b'{"title": "\xff"}\n')
    with pytest.raises(FailureError, match="line 1: it is not UTF-8"):
        posts.read(file)


def test_truncated_gzip_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "posts.jsonl.gz"
    file.write_bytes(gzip.compress((line() + "\n").encode())[:-20])
    with pytest.raises(FailureError, match="damaged or incomplete"):
        posts.read(file)


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="No such file"):
        posts.read(tmp_path / "none.jsonl")


@needs_sample
def test_sample_data_is_complete() -> None:
    found = posts.read(SAMPLE)
    assert len(found) == 20_100
    assert len(posts.authors(found)) == 10_382
    assert sum(post.points for post in found) == 1_010_951


def sample_titles() -> list[str]:
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["title"] for line in lines]


def is_encoded_twice(title: str) -> bool:
    """In a form that does not use the code under test: a lead byte of UTF-8 as a letter, and what follows it."""
    return re.search("[\u00c2-\u00f4][\u0080-\u00bf]", title) is not None


@needs_sample
def test_no_title_of_the_sample_stays_encoded_twice() -> None:
    raw = sample_titles()
    loaded = [post.title for post in posts.read(SAMPLE)]
    assert sum(map(is_encoded_twice, raw)) == 75
    assert sum(map(is_encoded_twice, loaded)) == 0
    assert [title for title in loaded if any(unicodedata.category(letter) == "Cc" for letter in title)] == []
    for before, after in zip(raw, loaded, strict=True):
        assert (before == after) == (not is_encoded_twice(before))


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("New PokÃ©mon Game", "New Pokémon Game"),
        ("Â£1.7m, Ã\x97, MjÃ¶lnir", "£1.7m, \u00d7, Mjölnir"),
        ("Â\x80500 Â\x95 note", "€500 • note"),
        ("æ\x97¥æ\x9c¬", "日本"),
    ],
)
def test_a_title_that_was_encoded_twice_is_repaired(title: str, expected: str) -> None:
    assert posts.parse(1, line(title=title).encode()).title == expected


@pytest.mark.parametrize(
    "title",
    [
        "plain",
        "Pokémon",
        "café £5 ½ Ã ß",
        "Why Ã© appears instead of é",
        "“Ã©” as a title",
        "日本 Ã©",
        "&ndash; and &amp;lt; stay",
        "🚀",
    ],
)
def test_an_honest_title_stays_as_it_is(title: str) -> None:
    assert posts.parse(1, line(title=title).encode()).title == title


def test_authors_come_in_the_order_of_their_names_with_their_first_date(tmp_path: Path) -> None:
    file = tmp_path / "posts.jsonl"
    days = {1: "2016-01-02", 2: "2016-01-01", 3: "2016-01-03"}
    lines = [line(id=number, created_at=f"{day}T00:00Z", points=0) for number, day in days.items()]
    file.write_text("\n".join([*lines, line(id=4, author="ada", points=0)]))
    first = posts.authors(posts.read(file))
    assert list(first) == ["ada", "mycodebreaks"]
    assert first["mycodebreaks"].date().isoformat() == "2016-01-01"


@pytest.mark.parametrize("size", [1, 2, 12, 97, 10_382])
def test_voters_are_distinct_for_every_count(size: int) -> None:
    for post_id in (1, 10176908, 2**63 - 1):
        chosen = voters.choose(post_id, size, size)
        assert sorted(chosen) == list(range(size))
        assert voters.choose(post_id, size // 2, size) == chosen[: size // 2]


def test_voters_never_change() -> None:
    # Loads of the same file on different days and machines must agree, so the choice itself is fixed here.
    assert voters.choose(10176908, 5, 10_382) == [6539, 7400, 8261, 9122, 9983]


def test_votes_are_spread_over_all_users() -> None:
    counts = [0] * 100
    for post_id in range(2_000):
        for voter in voters.choose(post_id, 10, 100):
            counts[voter] += 1
    assert min(counts) > 100
    assert max(counts) < 300
