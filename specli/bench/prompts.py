"""Prompts to measure on: the built-in ones by category, and files of the user."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from specli.errors import UsageError
from specli.files import read_text

SHIPPED = Path(__file__).parent / "prompts.yaml"

OWN = "own"
"""The category of prompts from a file without categories."""

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class BenchPrompt:
    """A conversation up to the user's first question, as (role, content).

    The questions in `further` follow one by one, each after the model's answer.
    """

    id: str
    category: str
    messages: tuple[tuple[str, str], ...]
    further: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The first question."""
        return self.messages[-1][1]


def shipped_prompts() -> list[BenchPrompt]:
    """The built-in prompts, two or more per category."""
    content: dict[str, list[str | list[str]]] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return [
        _of_turns(f"{category}-{number}", category, [turn] if isinstance(turn, str) else turn)
        for category, entries in content.items()
        for number, turn in enumerate(entries, 1)
    ]


def read_prompts(path: Path) -> list[BenchPrompt]:
    """The prompts of a file.

    Files named *.jsonl have one object per line, with `prompt` (text), `messages` (of a chat) or
    `turns` (the user's questions; the form of Spec-Bench and MT-Bench, with `question_id`), and
    optionally `id` and `category`. Any other file has one prompt per line. Empty lines are
    skipped. Raises UsageError naming file and line, and for YAML and JSON documents.
    """
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        raise UsageError(
            f"{path} would be read as one prompt a line",
            hint='write a .jsonl file, one object a line: {"prompt": "Hello"}',
        )
    text = read_text(path).removeprefix("\ufeff")
    # Not splitlines: JSON may hold U+2028 and its like inside a string.
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UsageError(f"{path} has no prompts", hint="write one per line")
    if path.suffix == ".jsonl":
        prompts = [_of_json(line, f"{path}:{n}", n) for n, line in lines]
    else:
        prompts = [_of_turns(f"line-{n}", OWN, [line.strip()]) for n, line in lines]
    name, count = Counter(prompt.id for prompt in prompts).most_common(1)[0]
    if count > 1:
        raise UsageError(
            f"{path} has {count} prompts with the id {name!r}", hint="give each its own id"
        )
    return prompts


def in_categories(prompts: Sequence[BenchPrompt], names: Sequence[str]) -> list[BenchPrompt]:
    """Prompts of these categories, or all if none is named. Raises UsageError for unknown ones."""
    known = list(dict.fromkeys(prompt.category for prompt in prompts))
    for name in names:
        if name not in known:
            raise UsageError(f"no such category: {name!r}", hint=f"choose from {', '.join(known)}")
    return [prompt for prompt in prompts if not names or prompt.category in names]


def _of_turns(name: str, category: str, turns: Sequence[str]) -> BenchPrompt:
    return BenchPrompt(name, category, (("user", turns[0]),), tuple(turns[1:]))


def _of_json(line: str, location: str, number: int) -> BenchPrompt:
    """One line of JSON; `location` is its file and line, for errors."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{location} is not JSON: {error}", hint="write one object per line"
        ) from None
    if not isinstance(entry, dict):
        raise UsageError(f"{location} is not a JSON object", hint='such as {"prompt": "Hello"}')
    forms = [name for name in ("prompt", "messages", "turns") if name in entry]
    if len(forms) != 1:
        given = "none" if not forms else " and ".join(forms)
        raise UsageError(
            f"{location} needs one of prompt, messages and turns, has {given}",
            hint='such as {"prompt": "Hello"}',
        )
    name = str(entry.get("id", entry.get("question_id", f"line-{number}")))
    category = str(entry.get("category", OWN))
    if forms == ["messages"]:
        return BenchPrompt(name, category, _messages(entry["messages"], location))
    turns = [entry["prompt"]] if forms == ["prompt"] else entry["turns"]
    if not (
        isinstance(turns, list)
        and turns
        and all(isinstance(turn, str) and turn.strip() for turn in turns)
    ):
        raise UsageError(f"{location}: {forms[0]} must be non-empty text")
    return _of_turns(name, category, turns)


def _messages(given: object, location: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(given, list) or not given:
        raise UsageError(f"{location}: messages must be a non-empty list")
    found = []
    for message in given:
        fields = message if isinstance(message, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        if role not in _ROLES or not isinstance(content, str):
            raise UsageError(
                f"{location}: a message needs a role ({', '.join(_ROLES)}) and a content as text"
            )
        found.append((role, content))
    if found[-1][0] != "user":
        raise UsageError(f"{location}: the last message must be the user's")
    return tuple(found)
