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
from specli.figures import counted
from specli.gguf.check import check_file
from specli.hub.cache import cache_dir
from specli.llama import library
from specli.llama.chat import Message, prompt_tokens, with_system
from specli.option_table import AUTO, DRAFTING, OPTIONS
from specli.option_values import written
from specli.options import Options
from specli.profiles import NAME, SUFFIXES, Profile, Settings, user_folder, write_profile
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from specli.session.loading import physical_cores
from specli.speculative import Placement

REPLACED = [
    option.name
    for option in OPTIONS.values()
    if option.group == DRAFTING and option.name not in ("no_draft", "recalibrate")
]
"""Options that the search replaces; everything else that is given stays."""

_RESERVE = 0.5
"""Seconds of the budget for what comes after the last measurement."""


@dataclass(frozen=True, slots=True)
class TuneTask:
    """The options of `specli tune` itself; `budget` in seconds."""

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
"""Opens a view of so many seconds; it takes the state of the search and the seconds gone."""


def search(options: Options, task: TuneTask, feedback: Feedback, open_watch: OpenWatch) -> Outcome:
    """Search the fastest settings of a pair. Ctrl-C ends it with the best so far, if any.

    Raises the errors of specli.errors.
    """
    library.show_log(options.verbose)
    given, profile = with_profile(options)
    path = output_path(task.out, _name(profile, given))
    options = given.but(**dict.fromkeys(REPLACED))
    prompts = prompts_of(task.prompts)
    setup = prepared_setup(options, profile, feedback)
    draft = setup.draft
    own = chosen_drafting(given, None if draft is None else str(draft.model))
    own = own if draft is None else own.with_model(draft)
    space = space_of(draft, machine_choices(setup, lossy=task.lossy), own)
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


def output_path(given: str | None, name: str) -> Path:
    """The file of the profile: a path, or a name in the user's folder, by default `name`-tuned.

    Raises UsageError for what cannot be a profile, and for a file that tune did not write."""
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
        there = path.read_text(encoding="utf-8", errors="replace") if path.exists() else MARK
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    if not there.startswith(MARK):
        raise UsageError(
            f"{path} exists, and specli tune did not write it", hint="choose another name with -o"
        )
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
    gpu = library.supports_gpu()
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
        asked = with_system(self.system, [Message(*one) for one in prompt.messages])
        return prompt_tokens(session.target_model, asked)


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
    tuned, machine = outcome.tuned, read_machine()
    ended = "interrupted after" if tuned.interrupted else "done in"
    title = [
        f"{specli.__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        f"{library.build_id()}; {machine.cpu}, {physical_cores()} threads at most, "
        f"{machine.system}.",
        f"{counted(tuned.race.passes, 'pass')} over the prompts, "
        f"{tuned.tokens} tokens each at most, {ended} {tuned.seconds:.0f} s of {task.budget:g} s.",
    ]
    evidence = comments(title, tuned.race, outcome.verdict, tuned.space.default)
    write_profile(outcome.path, outcome.content, evidence)


def profile_content(
    name: str, setting: Setting, setup: Setup, profile: Profile | None, options: Options
) -> dict[str, object]:
    """The profile: the models, the options that were given, and over them the setting chosen."""
    entries: dict[str, object] = {}
    if profile is not None:
        entries = profile.model_dump(by_alias=True, exclude_defaults=True)
    target = options.model or entries.get("target")
    draft = options.model_draft or entries.get("draft")
    if draft == AUTO and setup.draft is not None:
        draft = str(setup.draft.model)
    given = {n: written(v) for n, v in options.given().items() if n in Settings.model_fields}
    content: dict[str, object] = {
        "name": name,
        "description": f"Tuned for one machine: {setting}",
        "target": _lasting(target),
    }
    if setting.speculative.draft_model is not None:
        content["draft"] = _lasting(draft)
    if defaults := given | setting.defaults():
        content["defaults"] = defaults
    return content


def _lasting(model: object) -> object:
    """A local file by its whole path: the profile is used from other folders."""
    path = Path(model).expanduser() if isinstance(model, str) else None
    return str(path.absolute()) if path is not None and path.exists() else model
