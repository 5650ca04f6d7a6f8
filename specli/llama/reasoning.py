"""The reasoning that a model writes before its answer, told from the answer."""

from __future__ import annotations

from typing import NamedTuple

MARKS = (
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
)
"""Where reasoning begins and ends, by family of models."""


class Parted(NamedTuple):
    """`reasoning` is None where there was none."""

    reasoning: str | None
    answer: str


def parted(text: str, prompt: str = "") -> Parted:
    """An answer in its parts. Templates of some models begin the reasoning at the end of `prompt`;
    a text that ends inside it has no answer yet."""
    thought, answer = Thoughts(prompt).take(text, final=True)
    return Parted(thought or None, answer)


class Thoughts:
    """Parts a text while it arrives; `inside` while it is reasoning."""

    def __init__(self, prompt: str) -> None:
        """Templates of some models begin the reasoning at the end of `prompt`."""
        self._end = next((end for begin, end in MARKS if prompt.rstrip().endswith(begin)), "")
        self.inside = bool(self._end)
        self._undecided = not self.inside
        self._behind = False
        self._said = False
        self._held = ""

    def take(self, text: str, *, final: bool = False) -> tuple[str, str]:
        """What can be told of the reasoning and of the answer after this `text`."""
        self._held += text
        if self._undecided:
            self._begin(final=final)
        thought = self._thought(final=final) if self.inside else ""
        if self._behind:
            self._held = self._held.lstrip()
            self._behind = not self._held
        answer = ""
        if not self.inside and not self._undecided:
            answer, self._held = self._held, ""
        return thought, answer

    def _begin(self, *, final: bool) -> None:
        start = self._held.lstrip()
        for begin, end in MARKS:
            if start.startswith(begin):
                self._held, self._end = start.removeprefix(begin), end
                self.inside, self._undecided = True, False
                return
        self._undecided = not final and any(begin.startswith(start) for begin, _end in MARKS)

    def _thought(self, *, final: bool) -> str:
        """White space at either end of the reasoning is left out, so it is held back."""
        found, mark, rest = self._held.partition(self._end)
        if mark or final:
            self.inside, self._behind, self._held = False, True, rest
        else:
            found = found[: len(found) - overlap(found, self._end)]
            self._held = self._held[len(found.rstrip()) :]
        found = found.rstrip() if self._said else found.strip()
        self._said |= bool(found)
        return found


def overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that `mark` begins with."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if mark.startswith(text[-length:]):
            return length
    return 0
