"""Images keep the models of all AWS services that the code of this repository calls, and can make their clients."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import botocore
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "shared/images/trim_botocore.py"
_CLIENT = re.compile(r"""\bclient\(\s*"([a-z0-9-]+)\"""")


def test_each_service_that_is_called_is_kept() -> None:
    sources = [path for pattern in ("*/kpi_*", "services/*/kpi_*") for path in ROOT.glob(pattern)]
    called = {name for folder in sources for path in folder.rglob("*.py") for name in _CLIENT.findall(path.read_text())}
    assert {"s3", "secretsmanager"} <= called <= set(runpy.run_path(str(SCRIPT))["NEEDED"])


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with a copy of botocore, with few of the models."""
    source = Path(botocore.__file__).parent
    kept = {*runpy.run_path(str(SCRIPT))["NEEDED"], "sqs"}

    def skip(folder: str, names: list[str]) -> set[str]:
        return (
            {name for name in names if name not in kept and (Path(folder) / name).is_dir()}
            if folder.endswith("data")
            else set()
        )

    shutil.copytree(source, tmp_path / "botocore", ignore=skip)
    return tmp_path


def _trim(packages: Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(packages), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    return subprocess.run(
        [sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_others_are_removed_and_the_clients_can_be_made(packages: Path) -> None:
    assert _trim(packages).returncode == 0
    kept = {path.name for path in (packages / "botocore/data").iterdir() if path.is_dir()}
    assert kept == set(runpy.run_path(str(SCRIPT))["NEEDED"])


def test_an_image_without_a_client_is_not_built(packages: Path) -> None:
    shutil.rmtree(packages / "botocore/data/sts")
    failed = _trim(packages)
    assert failed.returncode != 0
    assert "UnknownServiceError" in failed.stderr
