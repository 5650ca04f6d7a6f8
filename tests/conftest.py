from __future__ import annotations

from tests.hub.fixtures import hub, index, own_cache

__all__ = ["hub", "index", "own_cache"]
