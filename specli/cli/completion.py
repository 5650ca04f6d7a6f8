"""What a shell may complete: options by every spelling, and values from the table and from here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from specli.cli.llama_flags import REWRITTEN
from specli.option_table import AUTO, OPTIONS, Option

Completer = Callable[[str], list[str]]

MODELS = ("model", "model_draft", "donor")


def spellings(incomplete: str, options: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    """The spellings that a word with a dash may become, each with its option's help.

    `options` are those of a command, with their spellings. Dashes alone are answered with specli's
    own spellings: with those of other tools there are some three hundred.
    """
    every = {
        spelling: text
        for text, known in options
        for spelling in known
        if not spelling.startswith("--no-no-")
    }
    if not incomplete.strip("-"):
        own = {one for option in OPTIONS.values() for one in option.flags.split()}
        foreign = {one for option in OPTIONS.values() for one in option.aliases.split()}
        foreign |= {one for one in every if one.replace("--no-", "--", 1) in every.keys() - {one}}
        every = {one: text for one, text in every.items() if one not in foreign - own}
    else:
        every |= {name: every[to[0]] for name, to in REWRITTEN.items() if to[0] in every}
    return {spelling: text for spelling, text in every.items() if spelling.startswith(incomplete)}


def completer(option: Option) -> Completer | None:
    """Completes the value of an option; None where a file or any text may follow."""
    if option.name == "profile":
        return profiles
    if option.name in MODELS:
        words = [AUTO] if AUTO in option.metavar else []
        return lambda incomplete: [*models(incomplete), *_matching(incomplete, words)]
    if option.name == "spec_type":
        return _drafters
    if option.name == "samplers":
        return _samplers
    if option.name == "chat_template":
        return _templates
    if not option.words:
        return None
    if option.several:
        return lambda incomplete: _last(incomplete, ",", option.words)
    return lambda incomplete: _matching(incomplete, option.words)


def models(incomplete: str) -> list[str]:
    """Models on this machine: by name, and GGUF files and folders by path."""
    from specli.hub.local import local_models

    begun = Path(incomplete)
    folder = begun if incomplete.endswith("/") else begun.parent
    beside = sorted(folder.iterdir()) if folder.is_dir() else []
    written = incomplete[: incomplete.rfind("/") + 1]
    paths = [f"{written}{one.name}/" for one in beside if one.is_dir() and one.name[0] != "."]
    paths += [f"{written}{one.name}" for one in beside if one.suffix == ".gguf"]
    return _matching(incomplete, [*(model.name for model in local_models()), *paths])


def profiles(incomplete: str) -> list[str]:
    """Profiles by name."""
    from specli.profiles import profile_files

    return _matching(incomplete, profile_files())


def tools(incomplete: str) -> list[str]:
    """Those that a profile can be exported to."""
    from specli.cli.profile_export import TOOLS

    return _matching(incomplete, TOOLS)


def settings(incomplete: str) -> list[str]:
    """The keys of the user's own defaults."""
    from specli.config import SETTABLE

    return _matching(incomplete, SETTABLE)


def _drafters(incomplete: str) -> list[str]:
    from specli.speculative import KINDS

    return _last(incomplete, ",", [*KINDS, AUTO, "none"])


def _samplers(incomplete: str) -> list[str]:
    from specli.sampling.params import ADAPTIVE, SAMPLERS

    return _last(incomplete, ";", (*SAMPLERS, ADAPTIVE))


def _templates(incomplete: str) -> list[str]:
    from specli.llama.chat import built_in_formats

    return _matching(incomplete, built_in_formats())


def _last(incomplete: str, separator: str, words: Iterable[str]) -> list[str]:
    """The last entry of a list, with those before it."""
    before = incomplete[: incomplete.rfind(separator) + 1]
    return [before + word for word in _matching(incomplete[len(before) :], words)]


def _matching(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
