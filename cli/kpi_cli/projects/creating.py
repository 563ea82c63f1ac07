"""``kpi new``: a project of one's own, as a repository with one commit."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.generate.rendering import render as render_template
from kpi_cli.layout import Layout
from kpi_cli.projects import git, sources, traps, trees
from kpi_cli.projects.answers import Answers
from kpi_cli.projects.extras import Extra

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")
# Longer ones would not fit on the lines of code that they stand on.
_MAX_NAME = 40


@dataclass(frozen=True)
class Made:
    """A new project, and what it was made from."""

    folder: Path
    answers: Answers
    version: str
    # Changes of this checkout that are not committed, and so are not in the project.
    has_uncommitted: bool


def create(
    layout: Layout, name: str, *, address: str | None, ref: str | None, folder: Path | None, extras: frozenset[Extra]
) -> Made:
    """Make the project ``name``; whatever fails, nothing of it is left."""
    _check_name(name)
    target = _find_target(layout, name, folder)
    chosen = str(layout.checkout) if address is None else address
    with sources.clone(chosen, ref) as source:
        answers = Answers(name, source.address, source.commit, extras)
        # Beside the target, so that the last step is one rename.
        with tempfile.TemporaryDirectory(prefix=f".{answers.slug}-", dir=target.parent) as draft:
            files = Path(draft) / "files"
            trees.render(source, answers, files)
            _refuse_package_names(files, answers.slug)
            readme = render_template("project/README.md.j2", answers=answers, source=source)
            traps.replace(files / "README.md", readme.encode())
            _commit(Path(draft) / "repository", files, f"Make {name} from {source.version} of the platform")
            files.rename(target)
        has_uncommitted = address is None and ref is None and _is_dirty(layout.checkout)
        return Made(target, answers, source.version, has_uncommitted)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        rule = f"up to {_MAX_NAME} letters, digits and single hyphens, the first a letter"
        raise FailureError("new", f"{name!r} is not a name for a project: it has {rule}", code=2)


def _find_target(layout: Layout, name: str, folder: Path | None) -> Path:
    """The folder to make; a checkout of the platform is no place for another one."""
    here = Path.cwd()
    outside = layout.checkout.parent if here.is_relative_to(layout.checkout) else here
    target = (outside / name.lower() if folder is None else folder.expanduser()).absolute()
    if target.resolve().is_relative_to(layout.checkout):
        raise FailureError("new", f"{target} is inside this checkout", fix="name another folder by --to", code=2)
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise FailureError("new", f"{target} exists already", fix="name another folder by --to", code=2)
    if not target.parent.is_dir():
        raise FailureError("new", f"there is no folder {target.parent}", fix=f"mkdir -p {target.parent}", code=2)
    return target


def _refuse_package_names(files: Path, slug: str) -> None:
    """A workspace with the name of a package that it installs could not be locked."""
    locked = [line for file in files.glob("requirements*.txt") for line in file.read_text("utf-8").splitlines()]
    if slug.startswith("kpi-") or any(line.startswith(f"{slug}==") for line in locked):
        raise FailureError("new", f"{slug} is the name of a package that the project installs", code=2)


def _commit(folder: Path, files: Path, message: str) -> None:
    """Make the repository in a folder that has no files, so that none of them is taken for a part of it."""
    folder.mkdir()
    git.run(folder, "init", "--quiet")
    # Whatever name git gives a first branch on this machine.
    git.run(folder, "symbolic-ref", "HEAD", "refs/heads/main")
    git.run(folder, f"--work-tree={files}", "add", "--all", "--force", ".")
    words = ("commit", "--quiet", "--no-verify", "--message", message)
    git.run(folder, *git.identity(folder), f"--work-tree={files}", *words)
    (folder / ".git").rename(files / ".git")


def _is_dirty(checkout: Path) -> bool:
    return bool(git.run(checkout, "status", "--porcelain"))
