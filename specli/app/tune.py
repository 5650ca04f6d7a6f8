"""A search for the fastest settings of a pair: from options to an outcome and a profile."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from time import perf_counter

import specli
from specli.app.feedback import Feedback
from specli.app.prepare import chosen_drafting, prepared_setup, sampling_of, with_profile
from specli.bench.evidence import MARK, comments
from specli.bench.halving import Race, Verdict
from specli.bench.prompts import BenchPrompt, read_prompts, shipped_prompts
from specli.bench.rig import Rig
from specli.bench.space import (
    PLAIN_SETTING,
    Choices,
    Setting,
    layer_choices,
    thread_choices,
)
from specli.bench.tuner import MOST_TOKENS, SearchState, Space, Tuned, search_state, space_of, tune
from specli.doctor.machine import read_machine
from specli.engine.sequence import GenerationRequest
from specli.errors import UsageError
from specli.gguf.check import check_file
from specli.hub.cache import cache_dir
from specli.llama import library
from specli.llama.chat import Message, prompt_tokens
from specli.options import Options
from specli.profiles import NAME, SUFFIXES, Profile, Settings, user_folder, write_profile
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from specli.session.loading import physical_cores
from specli.speculative import Placement, SpeculativeConfig

REPLACED = (
    "spec_type",
    "draft_max",
    "draft_min",
    "draft_p_min",
    "ngram",
    "ngram_size",
    "ngram_draft",
    "lookup_cache",
    "prediction",
)
"""Options that the search replaces; everything else that is given stays."""

_RESERVE = 0.5
"""Seconds of the budget for what comes after the last measurement."""


@dataclass(frozen=True, slots=True)
class TuneTask:
    """What `specli tune` was asked for beside the options; `budget` in seconds."""

    budget: float
    out: str | None = None
    prompts: Path | None = None
    lossy: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found: `content` is the profile that `path` would hold."""

    tuned: Tuned
    verdict: Verdict[Setting]
    path: Path
    content: dict[str, object]

    @property
    def is_plain(self) -> bool:
        """Whether plain decoding on the given machine settings is fastest."""
        return self.verdict.chosen == PLAIN_SETTING


OpenWatch = Callable[[float], AbstractContextManager[Callable[[SearchState, float], None]]]
"""Opens a view of so many seconds, which takes where the search stands and the seconds gone."""


def search(options: Options, task: TuneTask, feedback: Feedback, open_watch: OpenWatch) -> Outcome:
    """Search the fastest settings of a pair. Ctrl-C ends it with the best so far, if any.

    Raises the errors of specli.errors.
    """
    library.show_log(options.verbose)
    options, profile = with_profile(options)
    path = output_path(task.out, _name(profile, options))
    given = options
    options = options.but(**dict.fromkeys(REPLACED))
    prompts = prompts_of(task.prompts)
    setup = prepared_setup(options, profile, feedback)
    space = space_of(setup.draft, machine_choices(setup, lossy=task.lossy), _own(given, setup))
    questions = Questions(prompts, sampling_of(options), options.system)
    tuned = _measured(setup, space, questions, task, feedback, open_watch)
    if tuned.verdict is None:
        if tuned.interrupted:
            raise KeyboardInterrupt
        raise UsageError(
            f"{task.budget:g} s were over before plain decoding and one setting had been measured",
            hint=f"give more time: --budget {4 * task.budget:g}s",
        )
    content = profile_content(path.stem, tuned.verdict.chosen, setup, profile, options)
    return Outcome(tuned, tuned.verdict, path, content)


def _own(options: Options, setup: Setup) -> SpeculativeConfig:
    """What was given so far, with the draft model as it is set up."""
    draft = setup.draft
    config = chosen_drafting(options, None if draft is None else str(draft.model))
    return config if draft is None else config.with_model(draft)


def output_path(given: str | None, name: str) -> Path:
    """Where the profile goes: a file, or a name in the user's folder, made of `name` where none
    is given. Raises UsageError where that cannot be, or where a file not written by tune is."""
    if given is None:
        path = user_folder() / f"{name}-tuned.yaml"
    elif given.endswith(SUFFIXES) or "/" in given:
        path = Path(given).expanduser()
    else:
        path = user_folder() / f"{given}.yaml"
    if path.suffix not in SUFFIXES or not re.match(NAME, path.stem):
        raise UsageError(
            f"{path} cannot be a profile's file",
            hint="its name is made of a-z, 0-9, dot, dash and underscore, and ends in .yaml",
        )
    try:
        if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(
            MARK
        ):
            raise UsageError(
                f"{path} is there already, and specli tune did not write it",
                hint="choose another name with -o",
            )
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _name(profile: Profile | None, options: Options) -> str:
    """What a profile of this pair is called: after its profile, or its target."""
    if options.model is None and profile is not None:
        return profile.name.removesuffix("-tuned")
    stem = Path(options.model or "").stem.lower()
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("-._") or "pair"


def machine_choices(setup: Setup, *, lossy: bool) -> Choices:
    """What to try of the machine: nothing that the set-up fixes, GPU layers where there is a GPU.

    A cache of 8 bits is tried for the draft; for the target, whose text it changes, if `lossy`.
    """
    target = setup.target_placement
    draft = Placement() if setup.draft is None else setup.draft.placement
    gpu = any(device.is_gpu for device in library.devices())
    threads, threads_draft = thread_choices(target.threads or physical_cores())
    small = () if setup.flash_attention == "off" else ("q8_0",)
    layers = check_file(setup.target).model_integer("block_count") or 0
    return Choices(
        threads=() if gpu or target.threads else threads,
        threads_draft=() if gpu or draft.threads else threads_draft,
        cache_type=small if lossy and target.type_k == target.type_v == "f16" else (),
        cache_type_draft=small if draft.type_k == draft.type_v == "f16" else (),
        gpu_layers=layer_choices(layers) if gpu and target.gpu_layers is None else (),
        gpu_layers_draft=(0,) if gpu and draft.gpu_layers is None else (),
    )


def prompts_of(file: Path | None) -> list[BenchPrompt]:
    """The prompts to measure on, categories taking turns, so that a few are of all kinds.

    Short ones come first: what is tuned is the answer's speed, and reading prompts takes time.
    Raises UsageError for a file without prompts.
    """
    groups: dict[str, list[BenchPrompt]] = {}
    for prompt in shipped_prompts() if file is None else read_prompts(file):
        groups.setdefault(prompt.category, []).append(prompt)
    rows = zip_longest(*(sorted(g, key=lambda prompt: len(prompt.text)) for g in groups.values()))
    return [prompt for row in rows for prompt in row if prompt is not None]


@dataclass(slots=True)
class Questions:
    """Asks the first question of each prompt, pass by pass; see `specli.bench.rig.Ask`."""

    prompts: Sequence[BenchPrompt]
    sampling: SamplingParams
    system: str | None = None
    left_out: int = 0
    """Prompts that leave no room for an answer in the context."""
    _tokens: list[list[int]] = field(default_factory=list)

    def __call__(self, session: Session, number: int, tokens: int) -> GenerationRequest:
        if not self._tokens:
            every = [self._tokenised(session, prompt) for prompt in self.prompts]
            fitting = [prompt for prompt in every if len(prompt) + MOST_TOKENS < session.n_ctx]
            # Where none fits, the engine says so.
            self._tokens = fitting or every
            self.left_out = len(every) - len(self._tokens)
        prompt = self._tokens[number % len(self._tokens)]
        return GenerationRequest(prompt, max_tokens=tokens, sampling=self.sampling)

    def _tokenised(self, session: Session, prompt: BenchPrompt) -> list[int]:
        system = [Message("system", self.system)] if self.system else []
        asked = [Message(role, text) for role, text in prompt.messages]
        return prompt_tokens(session.target_model, [*system, *asked])


def _measured(
    setup: Setup,
    space: Space,
    questions: Questions,
    task: TuneTask,
    feedback: Feedback,
    open_watch: OpenWatch,
) -> Tuned:
    """The search, watched. A note waits until the bar is gone."""
    notes: list[str] = []
    began = perf_counter()
    with open_watch(task.budget) as watch:

        def told(race: Race[Setting]) -> None:
            watch(search_state(race), perf_counter() - began)

        with Rig(setup, cache_dir() / "probes", questions, notes.append) as rig:
            tuned = tune(rig, space, task.budget - _RESERVE, told)
    if questions.left_out:
        every = len(questions.prompts)
        notes.append(f"{questions.left_out} of {every} prompts were too long for the context")
    for note in dict.fromkeys(notes):
        feedback.note(note)
    return tuned


def keep(outcome: Outcome, task: TuneTask) -> None:
    """Write the profile, with what was measured as its comments. Raises UsageError."""
    tuned, found = outcome.tuned, outcome.verdict
    evidence = comments(_title(tuned, task), tuned.race, found, tuned.space.default)
    write_profile(outcome.path, outcome.content, evidence)


def profile_content(
    name: str, setting: Setting, setup: Setup, profile: Profile | None, options: Options
) -> dict[str, object]:
    """The profile: the models, what was given, and over it the setting chosen."""
    entries: dict[str, object] = {}
    if profile is not None:
        entries = profile.model_dump(by_alias=True, exclude_defaults=True)
    target = entries.get("target") if options.model is None else options.model
    if options.model_draft is not None:
        # The reference, or what `auto` has found.
        found = None if setup.draft is None else str(setup.draft.model)
        draft: object = found if options.model_draft == "auto" else options.model_draft
    else:
        draft = entries.get("draft")
    given = {n: _written(v) for n, v in options.given().items() if n in Settings.model_fields}
    content: dict[str, object] = {
        "name": name,
        "description": f"Tuned for one machine: {setting}",
        "target": _lasting(target),
    }
    if setting.speculative.draft_model is not None:
        content["draft"] = _lasting(draft)
    defaults = {**given, **setting.defaults()}
    if defaults:
        content["defaults"] = defaults
    return content


def _written(value: object) -> object:
    """The value of an option as a profile says it."""
    if isinstance(value, dict):
        return [f"{token}{bias:+g}" for token, bias in value.items()]
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _lasting(model: object) -> object:
    """A local file by its whole path: the profile is used from other folders."""
    if not isinstance(model, str):
        return model
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model


def _title(tuned: Tuned, task: TuneTask) -> list[str]:
    """When, with what and where it was measured."""
    ended = "interrupted after" if tuned.interrupted else "done in"
    return [
        f"{specli.__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        f"{library.build_id()}; {_machine()}.",
        f"{tuned.race.passes} passes over the prompts, {tuned.tokens} tokens each at most, "
        f"{ended} {tuned.seconds:.0f} s of {task.budget:g} s.",
    ]


def _machine() -> str:
    machine = read_machine()
    return f"{machine.cpu}, {physical_cores()} threads at most, {machine.system}"
