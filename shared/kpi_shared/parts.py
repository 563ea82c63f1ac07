"""The names and the folder of a part."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Part:
    """One deployable part of the platform.

    ``name`` is its short name (``auth``), ``package`` its Python package (``kpi_auth``), ``port`` its default port.
    """

    name: str
    package: str
    port: int

    @property
    def program(self) -> str:
        return f"kpi-{self.name}"

    @property
    def folder(self) -> Path:
        """The folder with the part's ``config/``, ``alembic.ini`` and ``migrations/``.

        In a checkout it is the parent folder of the package. In an image the package is installed elsewhere, and the
        process starts in the folder with these files.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is not None and spec.origin is not None:
            around = Path(spec.origin).parent.parent
            if (around / "pyproject.toml").is_file():
                return around
        return Path.cwd()
