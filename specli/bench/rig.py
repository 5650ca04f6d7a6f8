"""Runs settings on real models: sessions loaded as rarely as memory allows, speeds by deadline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from time import perf_counter

from specli.bench.halving import Failed
from specli.bench.space import PLAIN_SETTING, Setting
from specli.closing import Closing
from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.errors import MemoryShortError, PromptTooLongError, SpecliError
from specli.events import Stats
from specli.session import Session, Setup
from specli.speculative import Placement

WARM_UP_TOKENS = 16
_WARM_UPS = 4
_WARM_UP_STEP = 3
"""Between the prompts of warm-ups, so that they are of several kinds."""
_WARM_UP_SHARE = 0.05
"""Of the time that is left: a slow machine warms up less."""
_RELOAD = 1.5
"""A load may take this many times as long as the slowest so far."""

Ask = Callable[[Session, int, int], GenerationRequest]
"""(session, pass, most tokens) to the request of that pass."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a warm-up took: seconds for a prompt and for a token of an answer."""

    prompt: float
    token: float


@dataclass(slots=True)
class Rig(Closing):
    """Measures settings over `base`. Use it as a context manager, or call `close`.

    Every measurement has an engine of its own, which knows no earlier text.
    """

    base: Setup
    records: Path
    ask: Ask
    notice: Callable[[str], None] = lambda _text: None
    tokens: int = WARM_UP_TOKENS
    loads: int = 0
    _sessions: dict[Setup, Session] = field(default_factory=dict)
    _used: set[tuple[Placement, ...]] = field(default_factory=set)
    _load_seconds: float = 0.0
    _step_seconds: float = 0.0

    def warm_up(self, deadline: float) -> Pace | None:
        """Load the base and let it draft a little, so that caches are warm and costs known.

        None where the deadline came first. Raises what `Session` raises.
        """
        session = self._session(self.base)
        began = perf_counter()
        end = began + _WARM_UP_SHARE * (deadline - began)
        done: list[Stats] = []
        while len(done) < _WARM_UPS and perf_counter() <= end:
            stats = self._draft_a_little(session, len(done), deadline)
            if stats is None or not stats.predicted_n:
                break
            done.append(stats)
        if not done:
            return None
        return Pace(
            prompt=fmean(stats.prompt_ms for stats in done) / 1000,
            token=fmean(stats.predicted_ms / stats.predicted_n for stats in done) / 1000,
        )

    def measure(self, setting: Setting, number: int, deadline: float) -> float | Failed | None:
        """Tokens per second of `setting` on the prompt of pass `number`; see `halving.Measure`."""
        setup = setting.over(self.base)
        # The base's draft model stays loaded where a setting has none of its own.
        with_draft = setup if setup.draft else replace(setup, speculative=self.base.speculative)
        loaded = self._loaded(with_draft)
        new = with_draft.placements
        if new not in self._used and perf_counter() + _RELOAD * self._load_seconds > deadline:
            return None
        try:
            session = self._sessions.get(loaded)
            if session is None:
                session = self._session(loaded)
                self._draft_a_little(session, 0, deadline)
            session.use_threads(*_threads(with_draft))
            engine = session.engine_for(setup.speculative)
            stats = self._run(engine, self.ask(session, number, self.tokens), deadline)
        except SpecliError as error:
            if setting == PLAIN_SETTING or isinstance(error, PromptTooLongError):
                raise
            return Failed(error.message)
        self._used.add(new)
        if stats is None:
            return None
        return stats.predicted_per_second or Failed("it wrote nothing")

    def _loaded(self, setup: Setup) -> Setup:
        """What a session for `setup` is opened with: drafting and threads change on a live one."""
        config = self.base.speculative
        if setup.draft is not None:
            config = config.with_model(setup.draft)
        opened = replace(self.base, speculative=config, target_placement=setup.target_placement)
        return opened.with_threads(*_threads(self.base))

    def _session(self, setup: Setup) -> Session:
        """Open a session, and close the others where memory does not hold all of them."""
        began = perf_counter()
        try:
            session = Session(setup, self.records, self.notice)
        except MemoryShortError:
            if not self._sessions:
                raise
            self.close()
            session = Session(setup, self.records, self.notice)
        self._sessions[setup] = session
        self.loads += 1
        self._load_seconds = max(self._load_seconds, perf_counter() - began)
        return session

    def _draft_a_little(self, session: Session, number: int, deadline: float) -> Stats | None:
        """Generate with the session's own policy, which learns what its drafts are worth."""
        request = self.ask(session, _WARM_UP_STEP * number, WARM_UP_TOKENS)
        return self._run(session.engine(), request, deadline)

    def _run(self, engine: Engine, request: GenerationRequest, deadline: float) -> Stats | None:
        """Generate; None where one more step might end after the deadline."""
        stats = Stats()
        engine.submit(request)
        with closing(engine.run()) as events:
            before = perf_counter()
            while before + self._step_seconds <= deadline:
                event = next(events, None)
                if event is None:
                    return stats
                stats.add(event)
                now = perf_counter()
                self._step_seconds = max(self._step_seconds, now - before)
                before = now
        return None

    def close(self) -> None:
        """Free every model."""
        while self._sessions:
            self._sessions.popitem()[1].close()


def _threads(setup: Setup) -> tuple[int | None, int | None]:
    draft = setup.draft
    return setup.target_placement.threads, None if draft is None else draft.placement.threads
