"""A stand-in for a part: its command line and its behaviour towards a supervisor, without any function.

In the tests' checkouts PYTHONPATH is such that ``python -m kpi_auth`` finds this instead of the real part. Files in the
folder that FAKE_ORDERS names control one that runs.
"""

import argparse
import json
import os
import signal
import sys
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

import psycopg

ORDERS = Path(os.environ.get("FAKE_ORDERS", "/nonexistent"))
CHATTER_LINES = 10_000


def database_url() -> str:
    """The URL, read as by the real parts: from the environment, or from the file that it names."""
    return os.environ.get("DATABASE_URL") or Path(os.environ["DATABASE_URL_FILE"]).read_text().strip()


class Handler(BaseHTTPRequestHandler):
    """Responds to every path with 200; before the response to /chatter it logs as much as a busy part does."""

    def do_GET(self) -> None:
        if self.path == "/chatter":
            print("\n".join(f"line {number} {'.' * 200}" for number in range(CHATTER_LINES)), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_request(self, *_: object) -> None:
        print(f"GET {self.path}", flush=True)


def _shut_down(part: str) -> NoReturn:
    print(f"{part} is shutting down", flush=True)
    sys.exit(0)


def serve(part: str, port: int) -> None:
    """Serve until a signal; a file ``exit-PART`` in the orders makes it end on its own."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.timeout = 0.05
    signal.signal(signal.SIGTERM, lambda *_: _shut_down(part))
    print(f"{part} says hello", flush=True)
    while not (ORDERS / f"exit-{part}").exists():
        server.handle_request()
    print(f"{part} says goodbye", flush=True)
    sys.exit(3)


def migrate(part: str) -> None:
    """Create a table; a file ``no-migration-PART`` in the orders makes it fail."""
    if (ORDERS / f"no-migration-{part}").exists():
        sys.exit("kpi-stand-in: this migration fails")
    with psycopg.connect(database_url()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS things (name text PRIMARY KEY)")
        connection.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num text PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('first') ON CONFLICT DO NOTHING")
    print(f"{part} is at the newest migration")


def check(part: str) -> None:
    """Print a report like the real parts; a file ``sick-PART`` in the orders makes it report a problem."""
    ok = not (ORDERS / f"sick-{part}").exists()
    detail = "at the newest migration" if ok else "one migration behind"
    finding = {"check": "migrations", "ok": ok, "detail": detail, "fix": f"kpi migrate {part}"}
    print(json.dumps({"part": part, "ok": ok, "findings": [finding]}))
    sys.exit(0 if ok else 1)


def import_users() -> None:
    """Number the users in the order of their names, the same way in every run."""
    (ORDERS / "users-imported").touch()
    for number, line in enumerate(sys.stdin, start=1000):
        print(json.dumps({"username": json.loads(line)["username"], "id": number}))


def check_posts() -> None:
    """Refuse a title that only content judges."""
    for number, line in enumerate(sys.stdin, start=1):
        if json.loads(line)["title"] == "\u200b":
            sys.exit(f"kpi-content: line {number}: field title: a visible character is required")


def import_posts() -> None:
    """Store each post once in the database, and count."""
    if (ORDERS / "no-import-content").exists():
        sys.exit("kpi-stand-in: this import fails")
    if (ORDERS / "full-disk-content").exists():
        sys.exit("DiskFull: could not extend file: No space left on device\nHINT: Check free disk space.")
    read = added = votes = 0
    with psycopg.connect(database_url()) as connection:
        for line in sys.stdin:
            post = json.loads(line)
            read += 1
            insert = "INSERT INTO things VALUES (%s) ON CONFLICT DO NOTHING"
            new = connection.execute(insert, [sha256(line.encode()).hexdigest()]).rowcount
            added, votes = added + new, votes + new * len(post["voters"])
    print(json.dumps({"read": read, "added": added, "votes": votes}))


def read_request() -> dict[str, object]:
    """The input of an operator's command, which the test finds in the orders."""
    request = json.load(sys.stdin)
    (ORDERS / "request.json").write_text(json.dumps(request | {"arguments": sys.argv[1:]}))
    return dict(request)


def check_user() -> None:
    """Refuse one name."""
    if json.load(sys.stdin)["username"] == "refused":
        sys.exit("a line of the log\nkpi-auth: username: this name is refused")
    print("{}")


def create_user() -> None:
    """Store the name, once."""
    request = read_request()
    with psycopg.connect(database_url()) as connection:
        insert = "INSERT INTO things VALUES (%s) ON CONFLICT DO NOTHING"
        new = connection.execute(insert, [f"user {request['username']}"]).rowcount
    if not new:
        sys.exit("a line of the log\nkpi-auth: This username is taken")
    print(json.dumps({"id": 7, "username": request["username"], "role": request["role"]}))


def reset_password() -> None:
    """Reset nothing; a file ``broken-auth`` in the orders makes it fail without a sentence of its own."""
    request = read_request()
    if (ORDERS / "broken-auth").exists():
        sys.exit("Traceback: something is broken")
    print(json.dumps({"id": 7, "username": request["username"], "sessions_ended": 2}))


def list_users() -> None:
    """Two users, one of them with markup that must not reach a terminal."""
    read_request()
    item = {"role": "user", "is_active": True, "created_at": "2026-01-01T00:00:00Z", "email": None}
    items = [{"id": 1, "username": "ada"}, {"id": 2, "username": "grace", "email": "[red]g@x", "is_active": False}]
    print(json.dumps({"items": [item | one for one in items], "more": True}))


def verify_audit() -> None:
    """Everything is as it was; a file ``forged-audit`` in the orders makes one record wrong."""
    read_request()
    report = {"ok": True, "records": 1200, "deleted_by_age": 10, "waiting": 0, "checkpoints": 3, "head": "1210:01ab"}
    wrong = {"wrong": "changed", "seq": 500, "id": 501, "detail": "the record 501 was changed"}
    is_forged = (ORDERS / "forged-audit").exists()
    print(json.dumps(report | {"ok": not is_forged, "problem": wrong if is_forged else None}))
    sys.exit(3 if is_forged else 0)


def print_openapi(part: str) -> None:
    """A service prints a document of its own, and the gateway those that it gets on standard input."""
    if (ORDERS / f"broken-openapi-{part}").exists():
        sys.exit("kpi-stand-in: there is no document")
    document = {"merged": json.load(sys.stdin)} if part == "gateway" else {"openapi": "3.1.0", "title": f"{part} é"}
    print("not JSON" if (ORDERS / f"bad-openapi-{part}").exists() else json.dumps(document))


def print_routes(part: str) -> None:
    """Two operations of a service and one of the gateway, if all services have given their documents."""
    assert set(json.load(sys.stdin)) >= {"auth", "content"}
    limit = {"policy": "address", "requests": 1000, "window": 60}
    strict = {"policy": "login", "requests": 20, "window": 60}
    rows = [
        ("GET", "/api/v1/posts", "content", "list_posts", "public", [limit]),
        ("POST", "/api/v1/auth/register", "auth", "register", "public-write", [limit, strict]),
        ("GET", "/api/v1/audit", "auth", "list_audit", "admin", [limit]),
        ("GET", "/health", part, None, None, []),
    ]
    names = ("method", "path", "service", "operation_id", "access", "limits")
    print(json.dumps({"routes": [dict(zip(names, row, strict=True)) for row in rows]}))


def print_settings(part: str) -> None:
    """Three settings; a file ``sick-PART`` in the orders makes one of them wrong."""
    problems = ["PORT: must be a port"] if (ORDERS / f"sick-{part}").exists() else []
    known = {"group": "General", "type": "text", "description": "What it does.", "is_required": False}
    rows = [
        ("LOG_FORMAT", os.environ.get("LOG_FORMAT", "json"), "environment", "LOG_FORMAT", "json", None),
        ("PORT", "x", "settings-file", f"/etc/{part}/.env", "1", problems[0] if problems else None),
        ("COLOUR", "red", "default", None, "red", None),
    ]
    names = ("name", "value", "origin", "place", "default", "problem")
    settings = [known | dict(zip(names, row, strict=True)) | {"is_secret": False} for row in rows]
    changed = [each | {"is_changed": each["value"] != each["default"]} for each in settings]
    example = f"# The example of {part}.\n"
    report = {"part": part, "settings_file": None, "problems": problems, "settings": changed, "example": example}
    print(json.dumps(report))


REPORTS = {"routes": print_routes, "settings": print_settings}
OPERATORS = {
    "import-users": import_users,
    "check-posts": check_posts,
    "import-posts": import_posts,
    "check-new-user": check_user,
    "check-user": check_user,
    "create-user": create_user,
    "reset-password": reset_password,
    "list-users": list_users,
    "verify-audit": verify_audit,
}


def main(part: str) -> None:
    """The command line of a part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", nargs="?", default="serve")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.command == "serve":
        if (ORDERS / f"slow-{part}").exists():
            time.sleep(3600)
        serve(part, options.port)
    elif options.command in {"migrate", "check", "openapi"}:
        {"migrate": migrate, "check": check, "openapi": print_openapi}[options.command](part)
    elif options.command in REPORTS:
        REPORTS[options.command](part)
    else:
        OPERATORS[options.command]()
