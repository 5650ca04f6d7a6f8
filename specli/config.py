"""The user's own defaults: config.toml in the configuration folder, below profiles and flags.

Its table [default] has the options' names as profiles have them, and `profile`, `model` and
`model_draft`. Nothing in it is run, and a key that does not exist is an error.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from specli.errors import UsageError
from specli.files import read_text, write_text
from specli.option_table import OPTIONS, Option, closest
from specli.option_values import parsed

TABLE = "default"
MODELS = ("profile", "model", "model_draft")
SETTABLE = tuple(name for name, one in OPTIONS.items() if one.setting or name in MODELS)
MOST = 1 << 20
"""Bytes of the file."""

HEAD = """\
# Defaults of specli: `specli config show --origin` says what is in force.
[default]
# profile = "smollm2"
# temp = 0.7
"""


def config_path() -> Path:
    """The file, whether or not it is there."""
    return user_config_path("specli", appauthor=False) / "config.toml"


def read_config() -> dict[str, Any]:
    """What the file sets, as the command line would have it; nothing where it is not there.

    Raises UsageError naming file and key, or the line of what is not TOML.
    """
    path = config_path()
    if not path.exists():
        return {}
    return settings_of(read_text(path, MOST))


def settings_of(text: str) -> dict[str, Any]:
    """What the text of such a file sets. Raises UsageError."""
    path = config_path()
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{path} is not valid TOML: {error}", hint="specli config edit opens it"
        ) from None
    for name in content:
        if name != TABLE or not isinstance(content[name], dict):
            known = closest(name)
            there = f"put {known} into [{TABLE}]" if known else f"its table is [{TABLE}]"
            raise UsageError(f"{path}: unknown key {name}", hint=there)
    table: Mapping[str, object] = content.get(TABLE, {})
    return {name: _value(f"{path}: ", name, given) for name, given in table.items()}


def with_value(name: str, given: str) -> str:
    """The file's text with an option set, comments kept.

    `name` is an option's name, perhaps after `default.`; a list is separated by line ends.
    Raises UsageError for one that does not exist and for a value that it does not take.
    """
    import tomlkit

    name = name.removeprefix(f"{TABLE}.").replace("-", "_")
    option = _option("", name)
    value = _written(option, given)
    _value("", name, value)
    document = tomlkit.parse(_current())
    table = document.setdefault(TABLE, tomlkit.table())
    table[name] = value
    return tomlkit.dumps(document)


def without_value(name: str) -> str:
    """The file's text without an option. Raises UsageError where it does not set that."""
    import tomlkit

    name = name.removeprefix(f"{TABLE}.").replace("-", "_")
    document = tomlkit.parse(_current())
    table = document.get(TABLE, {})
    if name not in table:
        raise UsageError(f"{config_path()} does not set {name}", hint="specli config show")
    del table[name]
    return tomlkit.dumps(document)


def write_config(text: str) -> None:
    """Write the file whole, or leave it as it is. Raises SpecliError."""
    settings_of(text)
    write_text(config_path(), text, folders=True)


def _current() -> str:
    path = config_path()
    if not path.exists():
        return ""
    text = read_text(path, MOST)
    settings_of(text)
    return text


def _option(before: str, name: str) -> Option:
    if name in SETTABLE:
        return OPTIONS[name]
    known = name if name in MODELS else closest(name)
    hint = f"did you mean {known}?" if known else "the long names of specli run --help-all"
    raise UsageError(f"{before}unknown key {TABLE}.{name}", hint=hint)


def _value(before: str, name: str, given: object) -> Any:
    option, where = _option(before, name), f"{before}{TABLE}.{name}"
    listed = option.kind in ("texts", "biases")
    kinds = {"switch": bool, "integer": int, "number": (int, float)}
    wanted: Any = list if listed else kinds.get(option.kind, str)
    word = isinstance(given, str) and given in option.words
    mixed = isinstance(given, bool) and option.kind != "switch"
    if mixed or not (word or isinstance(given, wanted)):
        noun = {"switch": "true or false", "integer": "a whole number", "number": "a number"}
        what = "a list of texts" if listed else noun.get(option.kind, "a text")
        raise UsageError(f"{where} is {given!r}, but takes {what}")
    try:
        return parsed(option, list(map(str, given)) if isinstance(given, list) else given)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None


def _written(option: Option, given: str) -> object:
    """The TOML value of what a command line has."""
    if given in option.words:
        return given
    if option.kind in ("texts", "biases"):
        return given.split("\n")
    if option.kind == "switch":
        return {"true": True, "on": True, "false": False, "off": False}.get(given.lower(), given)
    number = option.kind in ("integer", "number")
    if number and re.fullmatch(r"[+-]?\d+", given):
        return int(given)
    try:
        return float(given) if number else given
    except ValueError:
        return given
