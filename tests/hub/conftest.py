from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.index import FakeIndex


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own for every test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPECLI_CACHE", str(folder))
    return folder


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeIndex]:
    """A package index on loopback, the only one that pip knows."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_REQUIRE_VIRTUALENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "no-such-file"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path))
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_RESUME_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FakeIndex() as running:
        monkeypatch.setenv("PIP_INDEX_URL", f"{running.url}/simple")
        yield running
