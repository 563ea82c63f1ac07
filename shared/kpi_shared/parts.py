"""What a part is: its names, and where its folder lies."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Part:
    """One deployable part of the platform.

    ``name`` is what people call it (``auth``), ``package`` what Python imports (``kpi_auth``), and ``port``
    where it listens unless told otherwise.
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

        In a checkout that is the folder around the package; an image installs the package elsewhere and
        starts in the folder that holds these files.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is not None and spec.origin is not None:
            around = Path(spec.origin).parent.parent
            if (around / "pyproject.toml").is_file():
                return around
        return Path.cwd()
