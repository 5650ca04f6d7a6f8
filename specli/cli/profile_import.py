"""A command line of llama-server, vLLM or firectl as a profile."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specli.cli.given import from_flags, json_object
from specli.cli.llama_flags import known_spellings, translated
from specli.cli.profile_export import FIREWORKS, VLLM, VLLM_SAMPLING
from specli.drafting_settings import vllm_settings
from specli.errors import UsageError
from specli.option_table import OPTIONS
from specli.option_values import parsed, written
from specli.options import Options


@dataclass(slots=True)
class Import:
    """What a command line says, by the names of options, and in words what is left out."""

    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, names: Mapping[str, str], theirs: str, value: object) -> bool:
        """Set the option that another tool calls `theirs`; False where it is none of `names`."""
        for ours in (name for name in names if names[name] == theirs):
            self.settings[ours] = parsed(OPTIONS[ours], value)
            return True
        return False

    def leave_out(self, flag: str, value: str) -> None:
        self.notes.append(f"left out: {flag} {value}".rstrip())


def imported(line: str, name: str) -> tuple[dict[str, object], list[str]]:
    """The content of a profile called `name`, and notes on what it leaves out.

    Raises UsageError for a line that names no model, and for values that options do not take.
    """
    try:
        words = shlex.split(line.replace("\\\n", " "))
    except ValueError as error:
        raise UsageError(f"the command cannot be read: {error}", hint="quote it as one") from None
    tool = Path(words[0]).name if words else ""
    read = next((read for start, read in _TOOLS.items() if tool.startswith(start)), _llama)
    found = read(words[1:])
    target = found.settings.pop("model", None)
    if target is None:
        raise UsageError("the command names no model", hint="such as 'llama-server -m FILE'")
    content: dict[str, object] = {
        "name": name,
        "description": f"From a command of {tool}",
        "target": target,
    }
    if "model_draft" in found.settings:
        content["draft"] = found.settings.pop("model_draft")
    for option in [one for one in found.settings if not OPTIONS[one].setting]:
        found.notes.append(f"a profile has no {OPTIONS[option].flag}")
        del found.settings[option]
    if found.settings:
        content["defaults"] = {key: written(value) for key, value in found.settings.items()}
    return content, found.notes


def _llama(words: list[str]) -> Import:
    command = _run_command()
    taken, notes = translated(words, known_spellings(command.params), "a profile", refuse=False)
    given = command.make_context("run", taken).params
    values = {
        key: parsed(OPTIONS[key], value)
        for key, value in given.items()
        if key in OPTIONS and value not in (None, [], ()) and key != "offline"
    }
    return Import(from_flags(values).given(), notes)


def _run_command() -> Any:
    import typer

    from specli.cli.help_page import Command
    from specli.cli.run import run

    app = typer.Typer()
    app.command("run", cls=Command)(run)
    return typer.main.get_command(app)


def _vllm(words: list[str]) -> Import:
    found = Import()
    for flag, value in _flags([word for word in words if word != "serve"]):
        match flag:
            case "" | "--model":
                found.settings["model"] = value
            case "--speculative-config" | "-sc":
                drafting = vllm_settings(json_object(flag, value, _QUOTE))
                found.settings |= Options(**drafting).given()
            case "--override-generation-config":
                for key, number in json_object(flag, value, _QUOTE).items():
                    found.set(VLLM_SAMPLING, key, number)
            case _ if not found.set(VLLM, flag, value):
                found.leave_out(flag, value)
    if not str(found.settings.get("model", ".gguf")).endswith(".gguf"):
        found.notes.append("specli runs GGUF files: check that the repositories hold some")
    return found


def _firectl(words: list[str]) -> Import:
    found = Import()
    for flag, value in _flags([one for one in words if one not in ("deployment", "create")]):
        if flag == "":
            found.settings["model"] = value
        elif flag == "--draft-model":
            found.settings["model_draft"] = value
        elif not found.set(FIREWORKS, flag, value):
            found.leave_out(flag, value)
    found.notes.append("Fireworks' models are no GGUF files: put references in their places")
    return found


_TOOLS: Mapping[str, Callable[[list[str]], Import]] = {"vllm": _vllm, "firectl": _firectl}


def _flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """Flags with their values, and what stands alone under an empty name."""
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            yield "", word
        elif equals:
            yield flag, value
        elif waiting and not waiting[0].startswith("-"):
            yield flag, waiting.pop(0)
        else:
            yield flag, ""


_QUOTE = "quote it as the shell wants it"
