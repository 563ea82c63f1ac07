"""What has to be true before the first process of a stack starts."""

from collections.abc import Callable
from contextlib import suppress

from kpi_cli import keys
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.stack import found_keys, libsodium, postgres, processes, vault
from kpi_cli.token_keys import files as token_files

Report = Callable[[str], None]


def prepare(layout: Layout, report: Report) -> None:
    """Check the machine and make what is missing; only the holder of the checkout's lock may call it."""
    libsodium.ensure()
    for folder in (layout.logs, layout.mails):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    recover(layout, report)
    postgres.check_data(layout)
    _check_key(layout)
    made = vault.ensure(layout.secrets)
    if ring := token_files.ensure(layout.secrets, token_files.demanded_purpose()):
        report(ring)
    if made:
        report(f"made {', '.join(made)} in {layout.shorten(layout.secrets)}")


def recover(layout: Layout, report: Report) -> None:
    """Stop the processes that a killed supervisor of this checkout left running."""
    orphans = processes.end_orphans(layout.home)
    with suppress(PermissionError):
        # postgres.check_data reports a data directory of another user.
        orphans += processes.end_postmaster(layout.data)
    if orphans:
        report(f"the last run was killed; stopped the processes that it left running: {orphans}")


def _check_key(layout: Layout) -> None:
    for place, key, fix in found_keys.of_stack(layout):
        # An empty file is the same as none: the vault fills it.
        problem = keys.problem(key) if key else ""
        if problem:
            raise FailureError("key", f"{place}: {problem}", fix=fix)
