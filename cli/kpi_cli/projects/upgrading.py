"""``kpi upgrade``: a later version of the platform, merged into a project."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kpi_cli import revisions
from kpi_cli.errors import FailureError
from kpi_cli.layout import ANSWERS, Layout
from kpi_cli.projects import answers as answers_file
from kpi_cli.projects import git, histories, merging, sources, traps, trees
from kpi_cli.projects.answers import Answers
from kpi_cli.projects.extras import Extra
from kpi_cli.projects.histories import Moved
from kpi_cli.projects.merging import Conflict, Merge
from kpi_cli.projects.sources import Source

# How many of the platform's commits the message of the project's commit names.
_NAMED_COMMITS = 50


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade has done, or would do; ``former`` is the project's commit before it."""

    before: str
    after: str
    former: str
    commits: int
    # Each with git's letter: A added, M changed, D removed.
    changes: tuple[tuple[str, str], ...]
    merge: Merge
    moved: tuple[Moved, ...]

    @property
    def conflicts(self) -> Sequence[Conflict]:
        return self.merge.conflicts


@dataclass(frozen=True)
class _Step:
    """The project as it was made, and as it would be made now: two trees, from which git takes the difference."""

    source: Source
    before: Answers
    after: Answers
    made: Path
    wanted: Path


def upgrade(
    layout: Layout,
    *,
    address: str | None,
    ref: str | None,
    extras: frozenset[Extra],
    dry_run: bool,
    other_branch: bool = False,
) -> Upgrade | None:
    """Merge a version of the platform into the project; None if it is there already.

    ``dry_run``: merge into a copy, so that the project stays as it is. ``other_branch``: the version may lack commits
    that the present one has, and they are taken back.
    """
    checkout = layout.checkout
    before = answers_file.read(checkout)
    _require_clean(checkout)
    with (
        sources.clone(address or before.source, ref) as source,
        tempfile.TemporaryDirectory(prefix="kpi-upgrade-") as room,
    ):
        after = before.at(source=source.address, commit=source.commit, extras=extras)
        _require_later(source, before, other_branch=other_branch)
        if (after.commit, after.extras) == (before.commit, before.extras):
            return None
        step = _Step(source, before, after, Path(room) / "made", Path(room) / "wanted")
        trees.render(source, before, step.made)
        trees.render(source, after, step.wanted)
        # What stands in the project, so that a change of the address is no conflict.
        traps.replace(step.made / ANSWERS, (checkout / ANSWERS).read_bytes())
        _check_migrations(checkout, step)
        place = checkout
        if dry_run:
            place = Path(room) / "copy"
            git.run(checkout, "clone", "--quiet", "--shared", str(checkout), str(place))
        return _merge(checkout, place, step, Path(room) / "index")


def _require_clean(checkout: Path) -> None:
    root = git.attempt(checkout, "rev-parse", "--show-toplevel").stdout.strip()
    if not root or Path(root).resolve() != checkout.resolve():
        raise FailureError("upgrade", f"{checkout} is not a git repository of its own", fix="git init, add and commit")
    if git.attempt(checkout, "rev-parse", "--verify", "CHERRY_PICK_HEAD").returncode == 0 or git.list_names(
        checkout, "ls-files", "--unmerged"
    ):
        raise FailureError(
            "upgrade",
            "an earlier upgrade waits for the decision of its conflicts",
            fix="decide each of them, then git add -A && git cherry-pick --continue; or back: git cherry-pick --abort",
        )
    if git.run(checkout, "status", "--porcelain"):
        raise FailureError(
            "upgrade",
            "there are changes that are not committed, and after an upgrade the two could not be distinguished",
            fix="git add -A && git commit, or git stash -u",
        )


def _require_later(source: Source, before: Answers, *, other_branch: bool) -> None:
    if not source.has(before.commit):
        raise FailureError(
            "upgrade",
            f"{source.address} does not have the commit that the project was made from, {before.commit[:12]}",
            fix="name a complete clone of the platform, by --from URL or --from FOLDER",
        )
    if source.is_ancestor(before.commit, source.commit):
        return
    here = source.describe(before.commit)
    if source.is_ancestor(source.commit, before.commit):
        raise FailureError("upgrade", f"{source.version} is older than what is here, {here}")
    if not other_branch:
        lost = source.subjects(source.commit, of=before.commit)
        raise FailureError(
            "upgrade",
            f"{source.version} is no successor of what is here, {here}: these commits would be taken back",
            log=lost[:_NAMED_COMMITS],
            fix="name a later version by --ref, or say by --other-branch that it is meant",
        )


def _check_migrations(checkout: Path, step: _Step) -> None:
    made, wanted = histories.read_names(step.made), histories.read_names(step.wanted)
    for service in checkout.glob(histories.SERVICES):
        own = {name: found for name, found in revisions.read(service).items() if name not in made}
        histories.check_names(own, wanted - made)


def _merge(checkout: Path, place: Path, step: _Step, index: Path) -> Upgrade:
    former = git.run(place, "rev-parse", "HEAD").strip()
    first = git.write_tree(place, step.made, index)
    second = git.write_tree(place, step.wanted, index)
    message = _message(step)
    base = _commit_tree(place, first, "The project as it was made")
    changes = _changes(place, first, second)
    _keep_ignored(checkout, [file for letter, file in changes if letter == "A"])
    merge = merging.pick(place, _commit_tree(place, second, message, "-p", base))
    incoming = histories.read_names(step.wanted) - histories.read_names(step.made)
    moved, problems = _join_migrations(place, incoming)
    merge = replace(merge, conflicts=(*merge.conflicts, *problems))
    _conclude(place, merge, moved)
    commits = len(step.source.subjects(step.before.commit))
    before, after = (step.source.describe(answers.commit) for answers in (step.before, step.after))
    return Upgrade(before, after, former, commits, changes, merge, moved)


def _changes(place: Path, first: str, second: str) -> tuple[tuple[str, str], ...]:
    words = git.list_names(place, "diff", "--no-renames", "--name-status", first, second)
    return tuple(zip(words[::2], words[1::2], strict=True))


def _keep_ignored(checkout: Path, added: Sequence[str]) -> None:
    """Refuse to write over files that git ignores, and so could not bring back."""
    tracked = set(git.list_names(checkout, "ls-files"))
    if lost := [file for file in added if file not in tracked and (checkout / file).exists()]:
        sentence = f"the platform adds {', '.join(lost)}, where this project has a file that git ignores"
        raise FailureError("upgrade", sentence, fix="move that file, or commit it by git add --force")


def _message(step: _Step) -> str:
    subjects = step.source.subjects(step.before.commit)
    more = len(subjects) - _NAMED_COMMITS
    lines = [f"- {subject}" for subject in subjects[:_NAMED_COMMITS]] + ([f"- and {more} more"] if more > 0 else [])
    return "\n".join([f"Upgrade the platform to {step.source.version}", "", *lines])


def _commit_tree(place: Path, tree: str, message: str, *options: str) -> str:
    return git.run(place, *git.identity(place), "commit-tree", tree, *options, given=message).strip()


def _join_migrations(place: Path, incoming: frozenset[str]) -> tuple[tuple[Moved, ...], list[Conflict]]:
    moved, problems = [], []
    for service in sorted(place.glob(histories.SERVICES)):
        folder = str(service.relative_to(place))
        try:
            found = histories.join(service, incoming)
        except FailureError as failure:
            problems.append(Conflict(folder, None, f"{failure.sentence}: {failure.fix}"))
        else:
            if found is not None:
                git.run(place, "add", "--", str(found.file.relative_to(place)))
                moved.append(replace(found, file=found.file.relative_to(place)))
    return tuple(moved), problems


def _conclude(place: Path, merge: Merge, moved: Sequence[Moved]) -> None:
    """Commit what is complete; git's own hooks for a person's commit are not asked."""
    commit = (*git.identity(place), "commit", "--quiet", "--no-verify", "--no-edit", "--cleanup=strip", "--allow-empty")
    if merge.is_stopped and not merge.conflicts:
        git.run(place, *commit)
    elif not merge.is_stopped and moved:
        git.run(place, *commit, "--amend")
