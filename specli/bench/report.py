"""The measurements of a bench as plain data, and their JSON file.

A report keeps every run, so that readers can summarise it differently; `summaries` comes from
`specli.bench.statistics.summarised`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from specli.bench.difference import Comparison
from specli.errors import UsageError
from specli.files import read_text

VERSION = 2
"""Version of the file format; other versions are refused."""

PLAIN_NAME = "plain"
"""The setting without drafting, the baseline of all others."""

OVERALL = "overall"
"""The category of a summary over all prompts."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The machine of the runs; memory in bytes. `build` is the version of llama.cpp."""

    system: str
    cpu: str
    cores: int
    memory: int
    devices: tuple[str, ...]
    build: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model of the pair; `role` is `target` or `draft`, `size` in bytes.

    `fingerprint` identifies the file: SHA-256 over its size, first and last MiB.
    """

    role: str
    name: str
    type: str
    size: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SettingFacts:
    """A setting: its name, and the values in effect by the names of their flags."""

    name: str
    flags: dict[str, object]


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """A prompt: `tokens` of its first turn, and the number of its `turns`."""

    id: str
    category: str
    tokens: int
    turns: int


@dataclass(frozen=True, slots=True)
class Run:
    """One setting on one prompt, once; all turns of a conversation together. Times in
    milliseconds.

    `number` counts the runs of the prompt from 0, `order` all runs of the bench. `first_token_ms`
    goes from the request to the first token, the prompt included (of a conversation's first turn).
    `accepted_at[i]` counts rounds whose i-th proposed token was accepted, out of
    `rounds_with_proposal`. `compared` is None for runs of plain decoding, and where the bench
    ended before the comparison. `output` is a digest of the tokens; `memory` the resident memory
    of the process in bytes right after the run.
    """

    setting: str
    prompt: str
    number: int
    order: int
    prompt_n: int
    prompt_ms: float
    first_token_ms: float
    predicted_n: int
    predicted_ms: float
    rounds: int
    rounds_with_proposal: int
    drafted: int
    accepted: int
    accepted_at: tuple[int, ...]
    by_drafter: dict[str, tuple[int, int]]
    """(drafted, accepted) of each drafter."""
    draft_ms: float
    verify_ms: float
    finish: str
    output: str
    memory: int
    compared: Comparison | None = None

    @property
    def per_second(self) -> float:
        """Predicted tokens per second, the prompt not included."""
        return 1000 * self.predicted_n / self.predicted_ms


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % confidence interval; None with too few runs."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One setting over the prompts of one category, or over all of them (`OVERALL`).

    `speed` is the median of tokens per second, `speed_low` and `speed_high` its quartiles.
    `speedup` is None for plain decoding, and where no turn has both. `slowest_prompt` and
    `fastest_prompt` are the lowest and the highest speed-up of a single prompt. Rates lie between
    0 and 1 and are None where nothing was proposed. `acceptance_per_position[i]` is the share of
    rounds with a proposal whose i-th token was accepted. `identical` counts runs with plain
    decoding's very tokens out of `compared`; `explained` those whose difference is the kernels'.
    """

    setting: str
    category: str
    prompts: int
    runs: int
    speed: float
    speed_low: float
    speed_high: float
    speedup: Interval | None
    slowest_prompt: float | None
    fastest_prompt: float | None
    acceptance_rate: float | None
    mean_accepted_length: float
    acceptance_per_position: tuple[float, ...]
    first_token_ms: float
    compared: int
    identical: int
    explained: int


@dataclass(frozen=True, slots=True)
class CostCurve:
    """Measured T(k): `ms[i]` milliseconds to decode `sizes[i]` tokens at once."""

    sizes: tuple[int, ...]
    ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole bench. `summaries` holds each setting's categories in order, then `OVERALL`.

    `costs` has the keys `target` and `draft` if known. `peak_memory` is the peak resident memory
    of the process in bytes, with the models of all settings loaded at once. `complete` is False
    if the bench was interrupted.
    """

    version: int
    specli: str
    created: str
    """When the bench began, ISO 8601 in UTC."""
    seconds: float
    complete: bool
    machine: MachineFacts
    models: tuple[ModelFacts, ...]
    settings: tuple[SettingFacts, ...]
    prompts: tuple[PromptFacts, ...]
    runs_wanted: int
    predict: int
    temperature: float
    seed: int | None
    peak_memory: int
    costs: dict[str, CostCurve]
    runs: tuple[Run, ...]
    summaries: tuple[Summary, ...]
    cache_prompt: bool = False
    """Whether a run could use the prompt that an earlier run left in the target's cache."""

    @property
    def categories(self) -> list[str]:
        """The categories of the prompts, in order."""
        return list(dict.fromkeys(prompt.category for prompt in self.prompts))

    def summary(self, setting: str, category: str = OVERALL) -> Summary | None:
        """The summary of a setting in a category; None without runs."""
        found = (s for s in self.summaries if (s.setting, s.category) == (setting, category))
        return next(found, None)


def to_json(report: Report) -> str:
    """The report as one JSON object with named fields."""
    return json.dumps(asdict(report), ensure_ascii=False, indent=1) + "\n"


def read_report(path: Path) -> Report:
    """The report in a file. Raises UsageError for anything else, or another version."""
    text = read_text(path)
    try:
        version = json.loads(text).get("version")
    except (ValueError, AttributeError):
        raise UsageError(
            f"{path} is not a report of specli bench",
            hint="write one with specli bench -o FILE",
        ) from None
    again = "measure again with specli bench -o FILE"
    if version != VERSION:
        raise UsageError(
            f"{path} is a report of version {version}; this specli reads version {VERSION}",
            hint=again,
        )
    try:
        return TypeAdapter(Report).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path} is not a valid report: {field}: {first['msg']}", hint=again
        ) from None
