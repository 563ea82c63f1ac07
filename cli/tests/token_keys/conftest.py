from pathlib import Path

import pytest
from ring_house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, "auth-1", "auth-2", "content-1")
