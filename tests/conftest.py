from __future__ import annotations

from tests.hub.fixtures import hub, index, own_cache, own_home

__all__ = ["hub", "index", "own_cache", "own_home"]
