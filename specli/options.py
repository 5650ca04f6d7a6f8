"""Every option that commands share, declared once.

From this table come the flags of the commands, the keys of profiles and docs/cli.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from specli.errors import UsageError
from specli.speculative import AUTO as AUTO
from specli.speculative import NGRAM_DRAFT, NGRAM_SIZE

ALL = "all"

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

Kind = Literal["text", "texts", "integer", "number", "switch", "file", "duration", "biases"]

PROMPT = "Prompt"
MODELS = "Models"
DRAFTING = "Drafting"
SAMPLING = "Sampling"
MACHINE = "Machine"
OUTPUT = "Output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option: what it is called, what it takes, and what it does."""

    name: str
    """The long name, which is the key in profiles too."""
    flags: str
    """Its spellings, the first of them shown in errors."""
    aliases: str = ""
    """Further spellings, of other tools and versions; shown by --help-all."""
    kind: Kind = "text"
    metavar: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    """A bound that is no value itself."""
    words: tuple[str, ...] = ()
    """Words that it takes; for a text, the only ones."""
    default: str = ""
    """Said in the help, not applied."""
    help: str = ""
    group: str = OUTPUT
    common: bool = False
    """Shown by --help; the others only by --help-all."""
    setting: bool = True
    """Whether a profile may set it."""
    several: bool = False
    """Whether it takes a list, separated by commas."""

    @property
    def flag(self) -> str:
        """The spelling that errors and hints use: the first long one."""
        return next(flag for flag in self.flags.split() if flag.startswith("--"))


def _text(name: str, flags: str, help: str, **more: Any) -> Option:
    return Option(name=name, flags=flags, help=help, **more)


def _integer(name: str, flags: str, help: str, **more: Any) -> Option:
    return Option(name=name, flags=flags, help=help, **{"kind": "integer", "metavar": "N"} | more)


def _number(name: str, flags: str, help: str, **more: Any) -> Option:
    return Option(name=name, flags=flags, help=help, kind="number", **{"metavar": "X"} | more)


def _file(name: str, flags: str, help: str, **more: Any) -> Option:
    return Option(name=name, flags=flags, help=help, kind="file", metavar="FILE", **more)


def _switch(name: str, flags: str, help: str, **more: Any) -> Option:
    return Option(name=name, flags=flags, help=help, kind="switch", **more)


_PROMPT = (
    _text("system", "-sys --system", "System message.", aliases="--system-prompt",
          metavar="TEXT", group=PROMPT, common=True),
    _switch("raw", "--raw", "Send the prompt without a chat template.", group=PROMPT),
)  # fmt: skip

_MODELS = (
    _text("profile", "--profile", "Models and settings to start from.", metavar="NAME|FILE",
          default="smollm2", group=MODELS, common=True, setting=False),
    _text("model", "-m --model", "Target model: a GGUF file or a reference.", metavar="REF",
          group=MODELS, common=True, setting=False),
    _text("model_draft", "-md --model-draft", "Draft model with the target's vocabulary; `auto` "
          "takes the best on this machine.", metavar="REF|auto",
          aliases="--spec-draft-model --draft-model --speculative-model",
          group=MODELS, common=True, setting=False),
    _integer("ctx_size", "-c --ctx-size", "Context in tokens; 0 is the model's own.", least=0,
             words=(AUTO,), default="at most 4096", group=MODELS, common=True),
)  # fmt: skip

_DRAFTING = (
    _integer("draft_max", "--draft", "Maximum draft tokens per round; 0 disables the draft model.",
             aliases="--draft-max --draft-n --spec-draft-n-max --draft-token-count "
             "--num-speculative-tokens",
             metavar="N|auto", least=0, words=(AUTO,), default=AUTO, group=DRAFTING, common=True),
    _integer("draft_min", "--draft-min", "Drop proposals shorter than this.", default="0",
             aliases="--draft-n-min --spec-draft-n-min", least=0, group=DRAFTING),
    _number("draft_p_min", "--draft-p-min", "Stop drafting at a token less probable than this.",
            aliases="--spec-draft-p-min", metavar="P", least=0, most=1, default="0",
            group=DRAFTING),
    _switch("no_draft", "--no-draft", "Do not use a draft model.", group=DRAFTING, common=True,
            setting=False),
    _text("spec_type", "--spec-type", "Drafters: draft, suffix, ngram-simple, ngram-cache, none.",
          metavar="KIND,...", default=AUTO, group=DRAFTING, common=True),
    _file("prediction", "--prediction", "Text that the answer is expected to repeat in part.",
          group=DRAFTING, common=True),
    _switch("ngram", "--ngram", "Draft from repetitions in prompt and answer.", group=DRAFTING),
    _integer("ngram_size", "--ngram-size", "Tokens that must match before n-grams are drafted.",
             aliases="--ngram-speculation-length --spec-ngram-simple-size-n", least=1, most=64,
             default=str(NGRAM_SIZE), group=DRAFTING),
    _integer("ngram_draft", "--ngram-draft", "Maximum n-gram draft tokens per round.",
             aliases="--spec-ngram-simple-size-m", least=1, most=512, default=str(NGRAM_DRAFT),
             group=DRAFTING),
    _file("lookup_cache", "-lcd --lookup-cache", "N-gram counts to draft from and to add to, in "
          "llama.cpp's format; created if missing.", aliases="--lookup-cache-dynamic",
          group=DRAFTING),
    _switch("recalibrate", "--recalibrate", "Measure the costs of target and draft again.",
            group=DRAFTING, setting=False),
)  # fmt: skip

_SAMPLING = (
    _integer("predict", "-n --predict", "Maximum tokens to generate; -1 is no limit.",
             aliases="--n-predict --max-tokens", least=-1, default="-1", group=SAMPLING,
             common=True),
    _number("temp", "--temp", "Temperature; 0 is greedy.", aliases="--temperature", least=0,
            default="0", group=SAMPLING, common=True),
    _integer("top_k", "--top-k", "Keep the k most probable tokens; 0 disables it.", least=0,
             default="40", group=SAMPLING),
    _number("top_p", "--top-p", "Keep the most probable tokens that sum to p; 1 disables it.",
            metavar="P", above=0, most=1, default="0.95", group=SAMPLING),
    _number("min_p", "--min-p", "Drop tokens below this share of the most probable one; 0 "
            "disables it.", metavar="P", least=0, most=1, default="0.05", group=SAMPLING),
    _number("repeat_penalty", "--repeat-penalty", "Divide the logits of recent tokens; 1 disables "
            "it.", above=0, default="1", group=SAMPLING),
    _number("presence_penalty", "--presence-penalty", "Subtract this from the logits of recent "
            "tokens.", default="0", group=SAMPLING),
    _number("frequency_penalty", "--frequency-penalty", "Subtract this once per recent "
            "occurrence.", default="0", group=SAMPLING),
    _integer("repeat_last_n", "--repeat-last-n", "Number of recent tokens for the penalties.",
             least=0, default="64", group=SAMPLING),
    _integer("seed", "-s --seed", "Seed for sampling; -1 draws one.", least=-1, default="-1",
             group=SAMPLING, common=True),
    Option(name="logit_bias", flags="-l --logit-bias", kind="biases", metavar="ID(+|-)BIAS",
           help="Add to the logit of a token: 15043+1, 15043-inf. May be repeated.",
           group=SAMPLING),
    _text("json_schema", "-j --json-schema", "Constrain the text to a JSON schema.",
          metavar="JSON|FILE", group=SAMPLING, common=True),
    _text("grammar", "--grammar", "Constrain the text to a GBNF grammar.", metavar="GBNF",
          group=SAMPLING),
    _file("grammar_file", "--grammar-file", "Read the grammar from a file.", group=SAMPLING),
    Option(name="stop", flags="-r --stop", aliases="--reverse-prompt", kind="texts",
           metavar="TEXT", help="End before this text. May be repeated.", group=SAMPLING,
           common=True),
    _switch("ignore_eos", "--ignore-eos", "Ignore end-of-sequence and keep generating.",
            group=SAMPLING),
)  # fmt: skip

_MACHINE = (
    _integer("threads", "-t --threads", "CPU threads of the target.", metavar="N|auto", least=1,
             words=(AUTO,), default="physical cores", group=MACHINE, common=True),
    _integer("threads_draft", "-td --threads-draft", "CPU threads of the draft model.",
             metavar="N|auto", aliases="--spec-draft-threads", least=1, words=(AUTO,),
             default="as the target", group=MACHINE),
    _integer("gpu_layers", "-ngl --gpu-layers", "Target layers on the GPU.",
             aliases="--n-gpu-layers", metavar="N|all|auto", least=-1, words=(ALL, AUTO),
             default="all where a GPU is present", group=MACHINE, common=True),
    _integer("gpu_layers_draft", "-ngld --gpu-layers-draft", "Draft model layers on the GPU.",
             aliases="--n-gpu-layers-draft --spec-draft-ngl", metavar="N|all|auto", least=-1,
             words=(ALL, AUTO), default="all where a GPU is present", group=MACHINE),
    _text("device", "-dev --device", "Devices for the target; `none` is the CPU.",
          metavar="NAME,...", group=MACHINE),
    _text("device_draft", "-devd --device-draft", "Devices for the draft model.",
          aliases="--spec-draft-device", metavar="NAME,...", group=MACHINE),
    _text("cache_type_k", "-ctk --cache-type-k", "Type of the target's K cache.",
          metavar="TYPE", words=CACHE_TYPES, default="f16", group=MACHINE),
    _text("cache_type_v", "-ctv --cache-type-v", "Type of the target's V cache.",
          metavar="TYPE", words=CACHE_TYPES, default="f16", group=MACHINE),
    _text("cache_type_k_draft", "-ctkd --cache-type-k-draft", "Type of the draft's K cache.",
          aliases="--spec-draft-type-k", metavar="TYPE", words=CACHE_TYPES, default="f16",
          group=MACHINE),
    _text("cache_type_v_draft", "-ctvd --cache-type-v-draft", "Type of the draft's V cache.",
          aliases="--spec-draft-type-v", metavar="TYPE", words=CACHE_TYPES, default="f16",
          group=MACHINE),
    _text("flash_attn", "-fa --flash-attn", "Flash attention.", metavar="on|off|auto",
          words=("on", "off", AUTO), default=AUTO, group=MACHINE),
)  # fmt: skip

_OUTPUT = (
    _switch("json", "--json", "Print one JSON object.", common=True, setting=False),
    _switch("quiet", "-q --quiet", "Print the result only: no progress, no notes, no summary.",
            common=True, setting=False),
    _switch("verbose", "-v --verbose", "Show llama.cpp's log on stderr.", setting=False),
    _switch("explain", "--explain", "Show costs, acceptance and decisions of `--draft auto`.",
            common=True, setting=False),
    _switch("check", "--check", "Run again without speculation and compare the texts.",
            common=True, setting=False),
    Option(name="budget", flags="--budget", kind="duration", metavar="TIME",
           help="Time for the search: 90s, 5m, 1h30m.", common=True, setting=False),
    Option(name="timeout", flags="--timeout", kind="duration", metavar="TIME",
           help="Stop an answer that takes longer; it counts as failed.", common=True,
           setting=False),
)  # fmt: skip

OPTIONS = {
    option.name: option
    for option in (*_PROMPT, *_MODELS, *_DRAFTING, *_SAMPLING, *_MACHINE, *_OUTPUT)
}

GENERATION = tuple(
    option.name for option in (*_PROMPT, *_MODELS, *_DRAFTING, *_SAMPLING, *_MACHINE)
)
"""The options of a command that generates text."""

IGNORED = (
    "--lookup-cache-static -lcs",
    "--spec-ngram-map-k-size-n",
    "--spec-ngram-map-k-size-m",
    "--spec-ngram-map-k4v-size-n",
    "--spec-ngram-map-k4v-size-m",
    "--spec-ngram-map-k4v-min-hits",
    "--spec-ngram-mod-n-match",
    "--spec-ngram-mod-n-min",
    "--spec-ngram-mod-n-max",
)
"""Flags of llama.cpp that are accepted, each with a value, and have no effect."""

_EXCLUSIVE = ("grammar", "grammar_file", "json_schema")
_LENGTHS = ("draft_min", "draft_p_min", "ngram_size", "ngram_draft")


class Options:
    """Values of options by their long names; what was not given is None."""

    def __init__(self, **values: Any) -> None:
        """Raises TypeError for a name that no option has."""
        unknown = values.keys() - OPTIONS.keys()
        if unknown:
            raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
        self._values = {name: value for name, value in values.items() if value is not None}

    def __getattr__(self, name: str) -> Any:
        if name not in OPTIONS:
            raise AttributeError(name)
        return self._values.get(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def given(self) -> dict[str, Any]:
        """The options that are set, by their long names."""
        return dict(self._values)

    def number(self, name: str) -> int | None:
        """A number of the machine or of tokens; None where it is `auto` or not given."""
        value = self._values.get(name)
        return None if value == AUTO else value

    def but(self, **values: Any) -> Options:
        """These options with other values; None takes one away."""
        return Options(**{**self._values, **values})

    def over(self, defaults: Mapping[str, Any]) -> Options:
        """These options where they are given, `defaults` elsewhere.

        An option takes those with it that it contradicts: a text follows one grammar, and with
        `draft_max` auto no length is fixed.
        """
        kept = dict(defaults)
        overridden: tuple[str, ...] = ()
        if any(name in self._values for name in _EXCLUSIVE):
            overridden += _EXCLUSIVE
        if self._values.get("draft_max") == AUTO:
            overridden += _LENGTHS
        for name in overridden:
            kept.pop(name, None)
        return Options(**{**kept, **self._values})


def parsed(option: Option, given: Any) -> Any:
    """The value of an option from what was typed or stands in a profile.

    Raises UsageError for a value that it does not take.
    """
    if option.several:
        parts = [part.strip() for part in str(given).split(",") if part.strip()]
        return tuple(_parsed_one(option, part) for part in parts)
    return _parsed_one(option, given)


def _parsed_one(option: Option, given: Any) -> Any:
    if option.kind == "switch":
        return bool(given)
    if option.kind == "texts":
        return tuple(given) or None
    if option.kind == "biases":
        return parse_biases(given) or None
    text = str(given)
    if option.kind == "duration":
        return parse_duration(option, text)
    if text in option.words:
        return text
    if option.kind == "file":
        return Path(text).expanduser()
    if option.kind == "text":
        if option.words:
            raise UsageError(
                f"{option.flag} is {text!r}, but must be one of: {', '.join(option.words)}"
            )
        return text
    return _number_of(option, text)


def _number_of(option: Option, text: str) -> int | float:
    try:
        value = int(text) if option.kind == "integer" else float(text)
    except ValueError:
        raise UsageError(
            f"{option.flag} takes {_takes(option)}, not {text!r}", hint=_hint(option, text)
        ) from None
    low, high, above = option.least, option.most, option.above
    holds = (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
    )
    if not holds:
        raise UsageError(f"{option.flag} is {text}, but must be {limits(option)}")
    return value


def _takes(option: Option) -> str:
    what = "a whole number" if option.kind == "integer" else "a number"
    return " or ".join([what, *(f"`{word}`" for word in option.words)])


def _hint(option: Option, text: str) -> str | None:
    if option.name == "draft_max":
        if re.search(r"[/.:]|gguf", text, re.IGNORECASE) or Path(text).exists():
            return f"to name a draft model, type -md {text}"
        return "such as --draft 4"
    return f"such as {option.flag} {option.words[0] if option.words else 1}"


def limits(option: Option) -> str:
    """The range of a number, in words; empty where it has none."""
    if option.above is not None:
        upper = "" if option.most is None else f", at most {option.most:g}"
        return f"above {option.above:g}{upper}"
    if option.least is None:
        return ""
    return f"{option.least:g} to {option.most:g}" if option.most is not None else (
        f"{option.least:g} or more"
    )  # fmt: skip


_UNITS = {"h": 3600, "m": 60, "s": 1, "": 1}


def parse_duration(option: Option, text: str) -> float:
    """Seconds from a time such as `90`, `90s`, `1.5m` or `1h30m`. Raises UsageError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms]?)", text)
    whole = "".join(number + unit for number, unit in parts)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if whole != re.sub(r"\s", "", text) or seconds <= 0:
        raise UsageError(
            f"{option.flag} takes a time, not {text!r}", hint="such as 90s, 3m or 1h30m"
        )
    return seconds


def parse_biases(values: list[str]) -> dict[int, float]:
    """llama.cpp's form, ID followed by a signed number. Raises UsageError."""
    biases = {}
    for value in values:
        found = re.fullmatch(r"(\d+)([+-](?:\d+(?:\.\d*)?|\.\d+|inf))", value)
        if found is None or found[2] == "+inf":
            raise UsageError(
                f"--logit-bias takes a token id and a signed number, not {value!r}",
                hint="such as 15043+1 to favour a token, 15043-inf to forbid it",
            )
        biases[int(found[1])] = float(found[2])
    return biases
