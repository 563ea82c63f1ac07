"""``python -m kpi_shared.testing.check_imports``: run import-linter with every service of the checkout.

Its configuration lists names and has no patterns. So ``{services}`` in the ``.importlinter`` of the checkout stands for
the packages of all services, and each service has the contracts about its own modules in a file of that name.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from importlinter.cli import lint_imports

_NAME = ".importlinter"
_PLACEHOLDER = re.compile(r"^( *)\{services\}$", re.MULTILINE)


def main() -> int:
    with TemporaryDirectory() as folder:
        file = Path(folder) / _NAME
        file.write_text(join_contracts(Path.cwd()), encoding="utf-8")
        return lint_imports(config_filename=str(file))


def join_contracts(checkout: Path) -> str:
    """The configuration as import-linter reads it."""
    packages = sorted(path.parent.name for path in checkout.glob("services/*/kpi_*/__init__.py"))
    files = [checkout / _NAME, *sorted(checkout.glob(f"services/*/{_NAME}"))]
    whole = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return _PLACEHOLDER.sub(lambda found: _list(found.group(1), packages), whole)


def _list(indent: str, packages: Iterable[str]) -> str:
    return "\n".join(f"{indent}{package}" for package in packages)


if __name__ == "__main__":
    sys.exit(main())
