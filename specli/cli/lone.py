"""Flags whose value may be left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

LONE = {"--ray": ("here", re.compile(r"auto|local|here|.*:\d+/?|ray://.*"))}
"""What a flag says alone, and what a value looks like: the word behind may be an argument."""


def completed(arguments: Sequence[str]) -> list[str]:
    """A command line in which every flag has its value."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    taken: list[str] = []
    for index, word in enumerate(arguments):
        taken.append(word)
        if word in LONE and index < end:
            alone, pattern = LONE[word]
            if not any(map(pattern.fullmatch, arguments[index + 1 : index + 2])):
                taken.append(alone)
    return taken
