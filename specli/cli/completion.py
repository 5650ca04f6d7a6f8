"""What a shell may complete: the values of options, from the table and from what is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from specli.options import AUTO, Option

Completer = Callable[[str], list[str]]

MODELS = ("model", "model_draft")


def completer(option: Option) -> Completer | None:
    """Completes the value of an option; None where a file or any text may follow."""
    if option.name == "profile":
        return _profiles
    if option.name in MODELS:
        words = [AUTO] if AUTO in option.metavar else []
        return lambda incomplete: _matching(incomplete, [*_models(), *words])
    if option.words:
        return lambda incomplete: _matching(incomplete, option.words)
    return None


def _matching(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _profiles(incomplete: str) -> list[str]:
    from specli.profiles import profile_files

    return _matching(incomplete, profile_files())


def _models() -> list[str]:
    from specli.hub.local import local_models

    return [model.name for model in local_models()]
