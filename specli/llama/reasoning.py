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
    for begin, end in MARKS:
        if prompt.rstrip().endswith(begin):
            inside = text
        elif text.lstrip().startswith(begin):
            inside = text.lstrip().removeprefix(begin)
        else:
            continue
        reasoning, _, answer = inside.partition(end)
        return Parted(reasoning.strip() or None, answer.lstrip())
    return Parted(None, text)
