"""An answer as a row of texts and calls, as Anthropic and the Responses API want it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from specli.events import Finished
from specli.server.context import Part
from specli.server.tools.reader import Delta


@dataclass(slots=True)
class Block:
    """A text, or reasoning where it is `thought`, or with a `name` the call of a function, whose
    `text` are its arguments as JSON."""

    index: int
    text: str = ""
    id: str = ""
    name: str | None = None
    thought: bool = False

    @property
    def input(self) -> dict[str, Any]:
        """The arguments of a call; nothing where they are no object."""
        try:
            found = json.loads(self.text or "{}", strict=False)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


Step = tuple[Literal["open", "more", "close"], Block, str]
"""A block begins, gets more text, or is complete."""


class Blocks:
    """The blocks of one answer so far."""

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._open: Block | None = None

    def take(self, part: Part) -> list[Step]:
        """What a part of a stream does; the last one closes the block that is open."""
        steps = self.add(part.deltas)
        return steps + self.finish() if isinstance(part.event, Finished) else steps

    def add(self, deltas: Iterable[Delta]) -> list[Step]:
        """What these deltas do."""
        steps: list[Step] = []
        for delta in deltas:
            if delta.name is not None:
                steps += self._begin(Block(0, id=delta.id or "", name=delta.name))
            elif (delta.text or delta.reasoning) and not self._continues(delta):
                steps += self._begin(Block(0, thought=bool(delta.reasoning)))
            more = delta.text or delta.reasoning or delta.arguments
            if more and self._open is not None:
                self._open.text += more
                steps.append(("more", self._open, more))
        return steps

    def _continues(self, delta: Delta) -> bool:
        block = self._open
        return block is not None and block.name is None and block.thought == bool(delta.reasoning)

    def _begin(self, block: Block) -> list[Step]:
        steps = self.finish()
        block.index = len(self.all)
        self.all.append(block)
        self._open = block
        return [*steps, ("open", block, "")]

    def finish(self) -> list[Step]:
        """Close the block that is open."""
        block, self._open = self._open, None
        return [] if block is None else [("close", block, "")]


def blocks_of(deltas: Iterable[Delta]) -> list[Block]:
    """The blocks of a complete answer; space around calls is no block."""
    blocks = Blocks()
    blocks.add(deltas)
    calls = any(block.name is not None for block in blocks.all)
    return [one for one in blocks.all if one.name is not None or one.text.strip() or not calls]
