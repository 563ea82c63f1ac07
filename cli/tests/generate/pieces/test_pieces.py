"""The single pieces: what each makes in a copy of this checkout, that it is made once, and what is refused."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from kpi_cli import layout, make_commands
from kpi_cli.errors import FailureError
from kpi_cli.generate import applying
from kpi_cli.generate.ai.answers import Command
from kpi_cli.generate.changes import Plan
from kpi_cli.generate.pieces.planners import PLANNERS
from kpi_cli.spellings import understand
from typer.core import TyperGroup

CONTENT, AUTH = "services/content/kpi_content", "services/auth/kpi_auth"
NEEDED = ("services", "tests/rights.txt", "gateway/kpi_gateway", "docs/events.md", "pyproject.toml")
# A command, and a text that each file has afterwards.
PIECES: dict[str, dict[str, str]] = {
    "make error PostLocked --status 423": {
        f"{CONTENT}/posts/errors.py": 'class PostLockedError(ProblemError):\n    status = 423\n    type = "post-locked"'
    },
    "make:exception LateVote -s 410 --in votes": {f"{CONTENT}/votes/errors.py": "from kpi_shared.errors import Pro"},
    "make enum PostState -v draft -v in-review -v 2nd": {
        f"{CONTENT}/posts/models.py": 'class PostState(StrEnum):\n    DRAFT = "draft"\n    IN_REVIEW = "in-review"\n'
        '    STATE_2ND = "2nd"\n'
    },
    "make model Note -f title:string:required": {
        f"{CONTENT}/notes/models.py": '    __tablename__ = "notes"\n',
        f"{CONTENT}/notes/__init__.py": "",
        "services/content/.importlinter": "    kpi_content.notes\n",
    },
    "make model PostNote --in posts -f label:slug:required --belongs-to posts": {
        f"{CONTENT}/posts/models.py": 'class PostNote(Table, table=True):\n    __tablename__ = "post_notes"\n'
    },
    "make repository Note -f title:string:required": {
        f"{CONTENT}/notes/repository.py": "notes = Records(",
        f"{CONTENT}/notes/schemas.py": "class NotePublic",
        f"{CONTENT}/notes/errors.py": "class NoteNotFoundError",
    },
    "make:service Note -f title:string:required": {f"{CONTENT}/notes/service.py": "async def change("},
    "make factory Note -f title:string:required": {f"{CONTENT}/seeding/notes.py": "class NoteFactory"},
    "make seeder Note -f title:string:required": {f"{CONTENT}/seeding/notes.py": "async def seed("},
    "make:controller Report --public": {
        f"{CONTENT}/reports/endpoints.py": "async def get_reports(_caller: OptionalReadAccess) -> ReportShown:",
        f"{CONTENT}/app.py": "import router as reports",
        "gateway/kpi_gateway/settings.py": 'RouteSetting(prefix="/reports", upstream="content")',
        "tests/rights.txt": "GET /api/v1/reports                                          public\n",
        "services/content/tests/reports/test_get_reports.py": "async def test_get_reports(client",
    },
    "make route Report -p --method post": {
        f"{CONTENT}/reports/endpoints.py": "async def create_reports(_caller: WriteAccess)"
    },
    "make endpoint ArchivePost --in posts --method post --admin --path /{post_id}/archive": {
        f"{CONTENT}/posts/endpoints.py": "async def archive_post(post_id: RowId, _caller: AdminAccess)",
        "tests/rights.txt": "POST /api/v1/posts/{post_id}/archive                         admin\n",
        "services/content/tests/posts/test_archive_post.py": "async def test_archive_post_is_for_admins(",
    },
    "make endpoint UserReport -s auth -p": {
        f"{AUTH}/user_reports/endpoints.py": 'router = Router(prefix="/user-reports", tags=["user-reports"])',
        "services/auth/tests/user_reports/test_get_user_reports.py": 'await accounts.add("anna")',
    },
    "make queue": {"services/content/migrations/versions/*_queue.py": "    op.execute(upgrade_sql())\n"},
    "make migration 'fill bios'": {
        "services/content/migrations/versions/*_fill_bios.py": "def downgrade() -> None:\n    pass\n"
    },
    "make middleware ServedBy": {
        f"{CONTENT}/served_by.py": "class ServedBy:\n",
        f"{CONTENT}/app.py": '    app.add_middleware(ServedBy, value="content")\n    return app\n',
        "services/content/tests/test_served_by.py": "X-Served-By",
    },
    "make command count-drafts --in posts": {
        f"{CONTENT}/posts/console.py": "def count_drafts(settings: ContentSettings) -> int:\n",
        f"{CONTENT}/__main__.py": '    "count-drafts": "kpi_content.posts.console:count_drafts",\n',
        "services/content/tests/posts/test_count_drafts.py": "def test_count_drafts_prints_one_object(",
    },
    "make command show-posts": {f"{CONTENT}/posts/console.py": "def show_posts(settings"},
    "make test PostTitle": {"services/content/tests/posts/test_post_title.py": '(404, "post-not-found")'},
    "make test VoteCount": {
        "services/content/tests/votes/test_vote_count.py": 'await client.post("/votes")\n    assert'
    },
    "make test ConversationEnd": {
        "services/content/tests/conversations/test_conversation_end.py": 'get("/conversations/999999", headers=anna'
    },
    "make test WebhookEnd -s auth": {
        "services/auth/tests/webhooks/test_webhook_end.py": "account = await accounts.add_admin()\n    response = await"
    },
    "make test First -s auth --in bootstrap": {
        "services/auth/tests/bootstrap/test_first.py": 'get("/bootstrap")\n    assert response.status_code == 200'
    },
    "make notifications": {
        f"{CONTENT}/notifications/models.py": '    __tablename__ = "notifications"\n',
        f"{CONTENT}/notifications/repository.py": '.on_conflict_do_nothing(index_elements=["delivery_id"])',
        f"{CONTENT}/notifications/service.py": "class NotificationTable:\n",
        f"{CONTENT}/notifications/endpoints.py": "async def list_notifications(",
        f"{CONTENT}/housekeeping.py": '        "notifications": notifications.forget_old,\n',
        f"{CONTENT}/app.py": "import router as notifications\n",
        "services/content/.importlinter": "    kpi_content.notifications\n",
        "services/content/tests/notifications/test_notifications.py": "async def test_own_ones_are_listed_newest_first",
        "gateway/kpi_gateway/settings.py": 'RouteSetting(prefix="/notifications", upstream="content")',
        "tests/rights.txt": "POST /api/v1/notifications/{notification_id}/read            write\n",
    },
    "make event account.suspended -f reason:string:required -f until:datetime -f by_id:bigint:required": {
        f"{AUTH}/events/models.py": '    ACCOUNT_SUSPENDED = "account.suspended"\n',
        f"{AUTH}/events/payloads.py": "class AccountSuspended(_Payload):\n    reason: str\n    until: datetime | None",
        "services/auth/tests/events/schemas.json": ' "account.suspended@1": {',
        "services/auth/tests/events/test_revocations.py": "EventType.ACCOUNT_SUSPENDED}",
        "docs/events.md": "### `account.suspended`\n",
    },
}
REFUSED = {
    "make error Value --in posts": "Python has the name ValueError itself",
    "make error Forbidden --in posts": "has another ForbiddenError already",
    "make error Problem --in votes": "has another ProblemError already",
    "make enum None --in posts -v a": "Python has the name None itself",
    "make enum Column --in posts -v a": "has another Column already",
    "make middleware import": "Python has the name import itself",
    "make command print --in posts": "Python has the name print itself",
    "make command json --in posts": "has another json already",
    "make endpoint Import --in posts --method post -p": "Python has the name import itself",
    "make endpoint Service --in posts --method post -p": "has another service",
    "make error PostLocked -s nowhere": "there is no service 'nowhere'",
    "make error Locked": "no noun of content",
    "make error Locked --in nothing": "there is no noun 'nothing'",
    "make error NotYourPost --in posts": "has another NotYourPostError already",
    "make error 'Post;Locked'": "is no name",
    "make error PostGone --status 200": "is not the status of an error",
    "make error PostNotThere --title 'a \"quote\"'": "a title is one line",
    "make enum PostState --in votes -v a -v A": "the values a and A would both have the name A",
    "make enum PostState --in votes -v 'a b'": "the values of an enum are words",
    "make model Post -f title:string --in nothing": "there is no noun 'nothing'",
    "make model class": "cannot be named 'class'",
    "make model Note -f title:strin": "strin",
    "make test SearchWords --in search": "search has no operation",
    "make repository Ghost": "has no table ghosts",
    "make:service Vote -f note:text": "has no VoteCreate",
    "make:service Vote": "fields of votes are needed",
    "make factory Vote": "fields of votes are needed",
    "make endpoint Report": "needs a right",
    "make endpoint Report --public --admin": "contradict each other",
    "make endpoint Report --public --method trace": "is no method",
    "make endpoint Report --public --path /../x": "is no path",
    "make endpoint Report --in search -p": "has no endpoints.py",
    "make migration '...'": "is one line of words",
    "make middleware Posts": "has a module posts already",
    "make middleware Settings": "has a module settings already",
    "make command serve --in posts": "each part has a command serve",
    "make command count-things": "names no noun",
    "make command import-posts --in posts": "there is a command import-posts already",
    "make event account.suspended": "it has fields",
    "make event account.changed -f reason:string:required": "with the payload AccountState",
    "make event session.ended -f reason:string": "SessionEnded is another payload already",
    "make event suspended -f reason:string": "does not say what happened to what",
    "make event account.suspended -f price:money": "fields of the types",
    **{
        f"make event account.suspended -f {field}": "has no other rules than required and nullable"
        for field in (
            "reason:string:required,max:5",
            "reason:string:min:1",
            "reason:string:unique",
            "reason:string:index",
            "reason:string:default:x",
            "count:integer:default:0",
            "count:integer:gt:0",
            "count:integer:le:0",
            "post_id:bigint:foreign:posts.id",
        )
    },
    "make event account.suspended -s content -f reason:string": "content writes no events",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("pieces"))


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("untouched"))


def copy_checkout(folder: Path) -> Path:
    root = layout.find().checkout
    for name in NEEDED:
        source, target = root / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(source, target)
    return folder


def plan(checkout: Path, line: str) -> Plan:
    """What the command plans in this checkout; its steps are left out."""
    group = typer.main.get_command(make_commands.app)
    assert isinstance(group, TyperGroup)
    _, name, *arguments = Command(understand(shlex.split(line)).arguments)
    parameters = group.commands[name].make_context(name, arguments).params
    return PLANNERS[name](
        checkout, **{key: value for key, value in parameters.items() if key not in {"dry_run", "force", "as_json"}}
    )


def read_all(checkout: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(checkout.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()


# The pieces of one noun build on each other, so they are made in the order in which they stand.
@pytest.fixture(scope="module")
def made(checkout: Path) -> dict[str, Plan]:
    plans = {}
    for line in PIECES:
        plans[line] = plan(checkout, line)
        applying.make(checkout, plans[line])
        applying.format_code(checkout, [change.path for change in plans[line].changes])
    return plans


@pytest.mark.parametrize("line", PIECES)
def test_a_piece_is_in_its_place(checkout: Path, made: dict[str, Plan], line: str) -> None:
    for path, text in PIECES[line].items():
        (file,) = checkout.glob(path)
        assert text in file.read_text(), file.read_text()


def test_all_of_them_are_in_the_form_of_the_house(checkout: Path, made: dict[str, Plan]) -> None:
    for command in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "services", "gateway"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout


def test_made_twice_nothing_changes(checkout: Path, made: dict[str, Plan]) -> None:
    before = dict(read_all(checkout))
    for line in PIECES:
        again = plan(checkout, line)
        applying.make(checkout, again)
        applying.format_code(checkout, [change.path for change in again.changes])
    assert {name: text for name, text in read_all(checkout) if before.get(name) != text} == {}


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused(untouched: Path, line: str) -> None:
    with pytest.raises(FailureError) as caught:
        applying.make(untouched, plan(untouched, line))
    assert REFUSED[line] in f"{caught.value.part}: {caught.value.sentence}"
    assert caught.value.code == 2


def test_every_piece_is_a_command_with_the_options_of_all() -> None:
    group = typer.main.get_command(make_commands.app)
    assert isinstance(group, TyperGroup)
    assert set(group.commands) - set(PLANNERS) == {"undo"}
    for name in PLANNERS:
        options = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert options >= {"--dry-run", "--force", "--json"}, name
