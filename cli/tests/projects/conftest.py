"""A small platform of its own, from which projects are made."""

from pathlib import Path

import pytest
from project_house import House, Project


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A repository that projects can be made from, on a machine on which git knows no author."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    return House(tmp_path / "platform")


@pytest.fixture
def project(house: House, tmp_path: Path) -> Project:
    """A project made from it."""
    return house.make("Acme", tmp_path / "acme")
