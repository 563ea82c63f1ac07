"""The single pieces of ``kpi make``, with the tests that come with them and everything that looks at all operations."""

import tempfile
from pathlib import Path

import pytest
from generator_support import Clone

pytestmark = pytest.mark.e2e

PIECES = [
    ["make:model", "Note", "-f", "title:string:required,max:80; body:text", "-m"],
    ["make:service", "Note", "-f", "title:string:required,max:80; body:text"],
    ["make:seeder", "Note", "-f", "title:string:required,max:80; body:text"],
    ["make:controller", "Note", "-p"],
    ["make:route", "Report", "--public"],
    ["make:route", "Report", "--public", "--method", "post"],
    ["make", "endpoint", "ArchivePost", "--in", "posts", "--method", "post", "--admin", "--path", "/{post_id}/archive"],
    ["make", "endpoint", "UserReport", "-s", "auth", "--admin"],
    ["make:exception", "PostLocked", "-s", "423"],
    ["make:enum", "PostState", "-v", "draft", "-v", "published"],
    ["make:middleware", "ServedBy"],
    ["make", "command", "count-drafts", "--in", "posts"],
    ["make:test", "PostTitle"],
    ["make", "migration", "fill bios"],
    ["make", "event", "account.suspended", "-s", "auth", "-f", "reason:string:required"],
]
TESTS = [
    "services/content/tests/notes",
    "services/content/tests/reports",
    "services/content/tests/posts/test_archive_post.py",
    "services/content/tests/posts/test_count_drafts.py",
    "services/content/tests/posts/test_post_title.py",
    "services/content/tests/test_served_by.py",
    "services/content/tests/test_surface.py",
    "services/content/tests/test_examples.py",
    "services/auth/tests/user_reports",
    "services/auth/tests/test_surface.py",
    "services/auth/tests/events/test_payloads.py",
    "services/auth/tests/events/test_revocations.py",
    "tests/test_rights.py",
]


def test_the_pieces_are_checked_tested_and_taken_back(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--generator"):
        pytest.skip("with --generator only: the tests of the command look at each piece as a text")
    with tempfile.TemporaryDirectory(prefix="kpi-pieces-", ignore_cleanup_errors=True) as folder:
        clone = Clone.make(Path(folder).resolve() / "clone")
        for piece in PIECES:
            clone.kpi(*piece)
        clone.check("content", *TESTS, is_whole=True)
        assert "nothing was changed" in clone.kpi(*PIECES[-1])
        for _ in PIECES:
            clone.kpi("make", "undo")
        assert clone.changes == ""
