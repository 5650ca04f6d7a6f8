"""What owns something to be freed is a context manager that frees it."""

from __future__ import annotations

from typing import Self


class Closing:
    """Leaving the context calls `close`."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()
