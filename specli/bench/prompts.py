"""Prompts to measure on: those that ship, by category, and files of a user's own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from specli.errors import UsageError

SHIPPED = Path(__file__).parent / "prompts.yaml"

OWN = "own"
"""The category of prompts from a file that names none."""

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class BenchPrompt:
    """A conversation up to the user's question, as (role, content), and what is asked next.

    Each of `further` is asked after the model's own answer to what came before.
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
    """The prompts written for specli, two or more in each category."""
    content: dict[str, list[str | list[str]]] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    found = []
    for category, entries in content.items():
        for number, entry in enumerate(entries, 1):
            turns = [entry] if isinstance(entry, str) else entry
            found.append(_asked(f"{category}-{number}", category, turns))
    return found


def read_prompts(path: Path) -> list[BenchPrompt]:
    """The prompts of a file, each of them once.

    Names ending in .jsonl hold an object a line, with `prompt` (text), `messages` (of a chat) or
    `turns` (the user's questions; the form of Spec-Bench and MT-Bench, with `question_id`), and
    if wanted `id` and `category`. Any other file is text, a prompt a line. Empty lines are passed
    over. Raises UsageError naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the path") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8"
        ) from None
    # Not splitlines: JSON may hold U+2028 and its like inside a string.
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UsageError(f"{path} holds no prompt", hint="write one a line")
    if path.suffix == ".jsonl":
        prompts = [_of_json(line, f"{path}:{n}", n) for n, line in lines]
    else:
        prompts = [_asked(f"line-{n}", OWN, [line.strip()]) for n, line in lines]
    return list(_once(prompts, path))


def in_categories(prompts: Sequence[BenchPrompt], names: Sequence[str]) -> list[BenchPrompt]:
    """Those of the categories named, or all where none is. Raises UsageError for others."""
    there = list(dict.fromkeys(prompt.category for prompt in prompts))
    for name in names:
        if name not in there:
            raise UsageError(
                f"no prompt is of the category {name!r}", hint=f"there are: {', '.join(there)}"
            )
    return [prompt for prompt in prompts if not names or prompt.category in names]


def _asked(name: str, category: str, turns: Sequence[str]) -> BenchPrompt:
    return BenchPrompt(name, category, (("user", turns[0]),), tuple(turns[1:]))


def _once(prompts: Iterable[BenchPrompt], path: Path) -> Iterator[BenchPrompt]:
    counts = Counter(prompt.id for prompt in prompts)
    for name, count in counts.items():
        if count > 1:
            raise UsageError(
                f"{path} holds {count} prompts with the id {name!r}", hint="give each its own"
            )
    yield from prompts


def _of_json(line: str, place: str, number: int) -> BenchPrompt:
    """One line of JSON. `place` names it in errors."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place} is not JSON: {error}", hint="one object a line") from None
    if not isinstance(entry, dict):
        raise UsageError(f"{place} is not a JSON object", hint='such as {"prompt": "Hello"}')
    forms = [name for name in ("prompt", "messages", "turns") if name in entry]
    if len(forms) != 1:
        given = "none" if not forms else " and ".join(forms)
        raise UsageError(
            f"{place} needs one of prompt, messages and turns, and has {given}",
            hint='such as {"prompt": "Hello"}',
        )
    name = str(entry.get("id", entry.get("question_id", f"line-{number}")))
    category = str(entry.get("category", OWN))
    if forms == ["messages"]:
        return BenchPrompt(name, category, _messages(entry["messages"], place))
    turns = [entry["prompt"]] if forms == ["prompt"] else entry["turns"]
    if not isinstance(turns, list) or not turns or not all(map(_is_text, turns)):
        raise UsageError(f"{place}: {forms[0]} must be text that is not empty")
    return _asked(name, category, turns)


def _messages(given: object, place: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(given, list) or not given:
        raise UsageError(f"{place}: messages must be a list of messages")
    found = []
    for message in given:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in _ROLES or not isinstance(content, str):
            raise UsageError(
                f"{place}: a message needs a role ({', '.join(_ROLES)}) and a content of text"
            )
        found.append((role, content))
    if found[-1][0] != "user":
        raise UsageError(f"{place}: the last message must be the user's, to be answered")
    return tuple(found)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
