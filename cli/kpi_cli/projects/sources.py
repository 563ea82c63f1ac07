"""Where a project comes from: a git repository, here or elsewhere, at one of its commits."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.projects import git, printing

# It stands in the project's files and messages, and a tag may have almost any other sign.
_VERSION = re.compile(r"[A-Za-z0-9._/-]+")


@dataclass(frozen=True)
class Source:
    """A clone of the repository, and the commit that was asked for."""

    address: str
    clone: Path
    commit: str

    @property
    def version(self) -> str:
        """The commit for people: a tag where there is one."""
        return self.describe(self.commit)

    def describe(self, commit: str) -> str:
        version = git.run(self.clone, "describe", "--tags", "--always", commit).strip()
        return version if _VERSION.fullmatch(version) else commit[:12]

    def has(self, commit: str) -> bool:
        return git.attempt(self.clone, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0

    def is_ancestor(self, commit: str, of: str) -> bool:
        return git.attempt(self.clone, "merge-base", "--is-ancestor", commit, of).returncode == 0

    def subjects(self, since: str, *, of: str | None = None) -> Sequence[str]:
        """The first lines of the commits of ``of`` that ``since`` does not have, the newest first."""
        lines = git.run(self.clone, "log", "--format=%s", f"{since}..{of or self.commit}").splitlines()
        return [printing.clean(line) for line in lines]

    def checkout(self, commit: str, folder: Path) -> None:
        """Write the files of a commit to a folder, without a repository around them."""
        folder.mkdir()
        git.run(self.clone, f"--work-tree={folder}", "checkout", "--force", commit, "--", ".")


@contextmanager
def clone(address: str, ref: str | None) -> Iterator[Source]:
    """A clone for the time of the block; ``ref``: a tag, a branch or a commit, by default what is checked out there."""
    # A relative path is one of the current folder, and git would take it as one of its own.
    named = str(Path(address).expanduser().resolve()) if Path(address).expanduser().exists() else address
    with tempfile.TemporaryDirectory(prefix="kpi-source-") as folder:
        target = Path(folder) / "clone"
        result = git.attempt(Path(folder), "clone", "--quiet", "--no-checkout", "--", named, str(target))
        if result.returncode:
            raise FailureError(
                "source",
                f"{address} cannot be cloned",
                log=result.stderr.strip().splitlines()[-3:],
                fix="name a git repository, by --from URL or --from FOLDER",
            )
        yield Source(named, target, _resolve(target, named, ref))


def _resolve(repository: Path, address: str, ref: str | None) -> str:
    for name in ("HEAD",) if ref is None else (f"refs/tags/{ref}", f"refs/remotes/origin/{ref}", ref):
        result = git.attempt(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if result.returncode == 0:
            return result.stdout.strip()
    wanted = "commit" if ref is None else f"tag, branch or commit {ref}"
    raise FailureError("source", f"{address} has no {wanted}", fix="git ls-remote lists tags and branches")
