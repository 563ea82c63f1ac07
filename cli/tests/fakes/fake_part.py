"""A stand-in for a part: its command line and its behaviour towards a supervisor, and nothing inside.

Tests put ``fakes`` on PYTHONPATH, so that ``python -m kpi_auth`` finds these instead of the real parts. Files
in the folder that FAKE_ORDERS names steer a running one.
"""

import argparse
import json
import os
import sys
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg

ORDERS = Path(os.environ.get("FAKE_ORDERS", "/nonexistent"))


def database_url() -> str:
    """The URL as the real parts read it: from the environment, or from the file that it names."""
    return os.environ.get("DATABASE_URL") or Path(os.environ["DATABASE_URL_FILE"]).read_text().strip()


class Handler(BaseHTTPRequestHandler):
    """Answers every path with 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_request(self, *_: object) -> None:
        print(f"GET {self.path}", flush=True)


def serve(part: str, port: int) -> None:
    """Serve until a signal; a file ``die-PART`` in the orders ends it by itself."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.timeout = 0.05
    print(f"{part} says hello", flush=True)
    while not (ORDERS / f"die-{part}").exists():
        server.handle_request()
    print(f"{part} says goodbye", flush=True)
    sys.exit(3)


def migrate(part: str) -> None:
    """Make a table, unless the orders say that migrations fail."""
    if (ORDERS / f"no-migration-{part}").exists():
        sys.exit("kpi-stand-in: this migration fails")
    with psycopg.connect(database_url()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS things (name text PRIMARY KEY)")
        connection.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num text PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('first') ON CONFLICT DO NOTHING")
    print(f"{part} is at the newest migration")


def check(part: str) -> None:
    """Print a report like the real parts; a file ``sick-PART`` in the orders makes it a bad one."""
    ok = not (ORDERS / f"sick-{part}").exists()
    detail = "at the newest migration" if ok else "one migration behind"
    finding = {"check": "migrations", "ok": ok, "detail": detail, "fix": f"kpi migrate {part}"}
    print(json.dumps({"part": part, "ok": ok, "findings": [finding]}))
    sys.exit(0 if ok else 1)


def import_users() -> None:
    """Number the users in the order of their names, the same way in every run."""
    for number, line in enumerate(sys.stdin, start=1000):
        print(json.dumps({"username": json.loads(line)["username"], "id": number}))


def import_posts() -> None:
    """Keep each post once, in the database, and count."""
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


def asked() -> dict[str, object]:
    """What an operator's command was asked for, which the test finds in the orders; never in the list of processes."""
    given = json.load(sys.stdin)
    (ORDERS / "asked.json").write_text(json.dumps(given | {"arguments": sys.argv[1:]}))
    return dict(given)


def create_user() -> None:
    """Keep the name, once."""
    given = asked()
    with psycopg.connect(database_url()) as connection:
        insert = "INSERT INTO things VALUES (%s) ON CONFLICT DO NOTHING"
        new = connection.execute(insert, [f"user {given['username']}"]).rowcount
    if not new:
        sys.exit("a line of the log\nkpi-auth: This username is taken")
    print(json.dumps({"id": 7, "username": given["username"], "role": given["role"]}))


def reset_password() -> None:
    """Fail without a sentence when the orders say so."""
    given = asked()
    if (ORDERS / "broken-auth").exists():
        sys.exit("Traceback: something is broken")
    print(json.dumps({"id": 7, "username": given["username"], "sessions_ended": 2}))


def list_users() -> None:
    """Two users, one of them with what a terminal must not obey."""
    asked()
    item = {"role": "user", "is_active": True, "created_at": "2026-01-01T00:00:00Z", "email": None}
    items = [{"id": 1, "username": "ada"}, {"id": 2, "username": "grace", "email": "[red]g@x", "is_active": False}]
    print(json.dumps({"items": [item | one for one in items], "more": True}))


OPERATORS = {
    "import-users": import_users,
    "import-posts": import_posts,
    "create-user": create_user,
    "reset-password": reset_password,
    "list-users": list_users,
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
    elif options.command in {"migrate", "check"}:
        {"migrate": migrate, "check": check}[options.command](part)
    else:
        OPERATORS[options.command]()
