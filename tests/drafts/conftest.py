from __future__ import annotations

from tests.hub.fixtures import own_cache

__all__ = ["own_cache"]
