from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _every_test_has_its_own_cache(own_cache: Path) -> None:
    pass
