"""What was given on the command line and in the environment, as options."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from specli.cli.llama_flags import flags
from specli.errors import UsageError
from specli.option_table import OPTIONS, Option
from specli.option_values import parsed
from specli.options import Options

_TRUE = ("on", "1", "true", "enabled")
_FALSE = ("off", "0", "false", "disabled")


def from_flags(values: Mapping[str, Any]) -> Options:
    """The options that were given as flags. Raises UsageError."""
    return _expanded(Options(**values))


def from_environment(names: Iterable[str]) -> Options:
    """The options that the environment sets: SPECLI_TEMP, else LLAMA_ARG_TEMPERATURE.

    Raises UsageError for a value that an option does not take, naming the variable.
    """
    values = {}
    for name in names:
        found = variable_of(OPTIONS[name])
        if found is not None:
            values[name] = _read(OPTIONS[name], *found)
    return _expanded(Options(**values))


def from_config(names: Iterable[str]) -> dict[str, Any]:
    """What the user's own file sets of these options. Raises UsageError."""
    from specli.config import read_config

    wanted = {*names}
    if "model" not in wanted:
        return {}
    return {name: value for name, value in read_config().items() if name in wanted}


def variable_of(option: Option) -> tuple[str, str] | None:
    """The variable that sets an option, and its value; None where none does."""
    for name in variables(option):
        if name in os.environ:
            # As llama.cpp has it, LLAMA_ARG_NO_MMAP switches off whatever its value is.
            off = "_NO_" in name and name not in llama_variables().get(option.name, ())
            return name, "off" if off else os.environ[name]
    return None


def variables(option: Option) -> Iterator[str]:
    """The names of the variables of an option, the first that is set decides."""
    yield f"SPECLI_{option.name.upper()}"
    for name in llama_variables().get(option.name, ()):
        if option.kind == "switch":
            yield name.replace("LLAMA_ARG_", "LLAMA_ARG_NO_")
        yield name


@cache
def llama_variables() -> Mapping[str, tuple[str, ...]]:
    """llama.cpp's own variables, by the name of the option that has the same flag."""
    owners = {
        spelling: option.name
        for option in OPTIONS.values()
        for spelling in f"{option.flags} {option.aliases}".split()
    }
    found: dict[str, tuple[str, ...]] = {}
    for flag in flags():
        name = next((owners[one] for one in flag.spellings if one in owners), None)
        if name is not None and flag.env.startswith("LLAMA_ARG_"):
            found[name] = (*found.get(name, ()), flag.env)
    return found


def _read(option: Option, variable: str, text: str) -> Any:
    try:
        if option.kind == "switch":
            return _switch(text)
        several = option.kind in ("texts", "biases")
        return parsed(option, [text] if several else text)
    except UsageError as error:
        raise UsageError(f"{variable}: {error.message}", hint=error.hint) from None


def _switch(text: str) -> bool:
    if text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    raise UsageError(f"{text!r} is neither on nor off", hint="on or off, 1 or 0, true or false")


def _expanded(options: Options) -> Options:
    """Options that only stand for others, as those. Raises UsageError."""
    if options.offline:
        # Before huggingface_hub is imported, which reads it once.
        os.environ["HF_HUB_OFFLINE"] = os.environ["PIP_NO_INDEX"] = "1"
    if options.hf_file is not None and options.hf_repo is None:
        raise UsageError("--hf-file needs --hf-repo", hint="such as -hf OWNER/REPO -hff FILE")
    if options.system_file is not None:
        from specli.files import read_text

        options = options.but(system=read_text(options.system_file), system_file=None)
    if options.hf_repo is not None:
        model = _hub_model(options.hf_repo, options.hf_file)
        options = options.but(model=model, hf_repo=None, hf_file=None)
    if options.hf_repo_draft is not None:
        draft = _hub_model(options.hf_repo_draft, None)
        options = options.but(model_draft=draft, hf_repo_draft=None)
    if options.speculative_config is not None:
        drafting = Options(**_vllm(options.speculative_config))
        options = options.but(speculative_config=None).over(drafting.given())
    return options


def _hub_model(repository: str, file: str | None) -> str:
    named = repository.removeprefix("hf:")
    return f"hf:{named}" if file is None else f"hf:{named.partition(':')[0]}/{file}"


def _vllm(text: str) -> dict[str, object]:
    from specli.drafting_settings import vllm_settings

    such = 'such as \'{"method": "ngram", "num_speculative_tokens": 4}\''
    return vllm_settings(json_object("--speculative-config", text, such))


def json_object(flag: str, text: str, hint: str) -> dict[str, Any]:
    """The JSON object that a flag takes. Raises UsageError."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{flag} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{flag} is no JSON object", hint=hint)
    return value
