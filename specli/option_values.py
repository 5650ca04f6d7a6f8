"""The value of an option from the text of a flag, a variable or a profile, and back."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

from specli.errors import UsageError, shortened
from specli.option_table import MOST_BIAS, Option

LONGEST = 365 * 86_400
"""Seconds of a duration: a year."""


def parsed(option: Option, given: Any) -> Any:
    """The value of an option from the command line or a profile.

    Raises UsageError for a value that it does not take.
    """
    if option.several:
        parts = [part.strip() for part in str(given).split(",") if part.strip()]
        return tuple(_parsed_one(option, part) for part in parts)
    return _parsed_one(option, given)


def written(value: object) -> object:
    """The value of an option as a file of settings has it."""
    if isinstance(value, dict):
        return [f"{token}{bias:+g}" for token, bias in value.items()]
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _parsed_one(option: Option, given: Any) -> Any:
    text = str(given)
    match option.kind:
        case "switch":
            return bool(given)
        case "texts":
            return tuple(given) or None
        case "biases":
            return _biases(given) or None
        case "duration":
            return _seconds(option, text)
        case "file":
            return Path(text).expanduser()
        case _ if text in option.words:
            return text
        case "text" if option.words:
            raise UsageError(
                f"{option.flag} is {text!r}, but must be one of: {', '.join(option.words)}"
            )
        case "text":
            return text
        case _:
            return _number(option, text)


def _number(option: Option, text: str) -> int | float:
    try:
        value = int(text) if option.kind == "integer" else float(text)
    except ValueError:
        what = "a whole number" if option.kind == "integer" else "a number"
        what = " or ".join([what, *(f"`{word}`" for word in option.words)])
        raise UsageError(
            f"{option.flag} takes {what}, not {shortened(text)!r}", hint=_hint(option, text)
        ) from None
    if not option.allows(value):
        raise UsageError(f"{option.flag} is {shortened(text)}, but must be {option.range}")
    return value


def _hint(option: Option, text: str) -> str | None:
    if option.name == "draft_max":
        if re.search(r"[/.:]|gguf", text, re.IGNORECASE) or os.path.exists(text):  # noqa: PTH110 - any text
            return f"to name a draft model, type -md {text}"
        return "such as --draft 4"
    return f"such as {option.flag} {option.words[0] if option.words else 1}"


_UNITS = {"h": 3600, "m": 60, "s": 1, "": 1}


def _seconds(option: Option, text: str) -> float:
    """Seconds from a time such as `90`, `90s`, `1.5m` or `1h30m`. Raises UsageError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms]?)", text)
    whole = "".join(number + unit for number, unit in parts)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if whole != re.sub(r"\s", "", text) or not 0 < seconds <= LONGEST:
        raise UsageError(
            f"{option.flag} takes a time of at most a year, not {shortened(text)!r}",
            hint="such as 90s, 3m or 1h30m",
        )
    return seconds


def _biases(values: list[str]) -> dict[int, float]:
    """llama.cpp's form, ID followed by a signed number. Raises UsageError."""
    biases = {}
    for value in values:
        # No vocabulary needs more than nine digits.
        found = re.fullmatch(r"(\d{1,9})([+-](?:\d+(?:\.\d*)?|\.\d+|inf))", value)
        bias = math.nan if found is None else float(found[2])
        if found is None or not allows_bias(bias):
            raise UsageError(
                "--logit-bias takes a token id and a signed number of at most "
                f"{MOST_BIAS:,}, not {shortened(value)!r}",
                hint="such as 15043+1 to favour a token, 15043-inf to forbid it",
            )
        biases[int(found[1])] = bias
    return biases


def allows_bias(bias: float) -> bool:
    """Whether this may be added to a logit; -inf forbids a token."""
    return abs(bias) <= MOST_BIAS or bias == -math.inf
