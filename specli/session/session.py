"""Loaded models, and engines on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Protocol

from specli.closing import Closing
from specli.drafters.heads.core import Kind
from specli.drafters.protocol import STEPS, Drafter
from specli.drafters.registry import Materials, build
from specli.drafters.translation import Translation
from specli.engine.engine import Engine
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CostModel
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.policy.parallel import best_parallel
from specli.engine.policy.protocol import Policy
from specli.engine.recalibration import Recalibration
from specli.errors import SpecliError, UsageError
from specli.events import MODEL
from specli.hub.progress import Progress, ProgressSink, ignore
from specli.llama.constraint import Rules, State
from specli.llama.context import Context
from specli.llama.exact import ExactContext, Rows, rounds_by_batch, without_tiles
from specli.llama.model import Model
from specli.session.cores import FIRST_WINDOW, Room
from specli.session.costs import Costs, Knowledge
from specli.session.exactness import make_exact
from specli.session.heads import load_head, open_head, require_own_head
from specli.session.loading import (
    Checked,
    check,
    explained_shortage,
    fitting_slots,
    load_model,
    meet_servers,
    open_context,
    require_fit,
)
from specli.session.setup import Setup
from specli.speculative import (
    Adaptive,
    DraftModel,
    FixedLength,
    Grammar,
    Head,
    NgramCache,
    SpeculativeConfig,
    Suffix,
)

REMEMBERING = (Suffix, NgramCache)
"""Drafters that a session keeps: later texts are drafted from earlier ones."""


@dataclass(frozen=True, slots=True)
class Lane:
    """The slots of an engine that takes turns with others, and the clock it goes by."""

    first: int
    slots: int = 1
    clock: Callable[[], float] = perf_counter


class Session(Closing):
    """Loaded models and their contexts. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        setup: Setup,
        records: Path,
        notice: Callable[[str], None] = lambda _text: None,
        report: ProgressSink = ignore,
        *,
        skips: bool = False,
    ) -> None:
        """Check the files, then load them. `records` is a folder for what is learned of them;
        `notice` takes, in one sentence each, what a user should know and did not ask for.
        With `skips` the first Ctrl-C while costs are measured ends only that.

        Raises ModelFileError, PairIncompatibleError, MemoryShortError and LoadError.
        """
        self.setup = setup
        self._costs = Costs(records, notice, setup.recalibrate, report, skips)
        self._records, self._notice = records, notice
        self.rows: Rows | None = None
        self._room = Room(notice)
        checked = check(setup)
        self.n_ctx = checked.n_ctx
        most = setup.slots or fitting_slots(checked)
        require_fit(checked, most)
        with explained_shortage(checked, most), ExitStack() as stack:
            # A draft may round as it likes: the target decides.
            repacked = not (setup.exact and rounds_by_batch(checked.tensor_types))
            if setup.own_head is not None:
                require_own_head(setup.target, records, report)
            self._models = [
                stack.enter_context(
                    load_model(
                        path,
                        placement,
                        records,
                        notice,
                        report,
                        repacked=repacked or number > 0,
                        mtp=number == 0 and setup.own_head is not None,
                    )
                    if head is None
                    else load_head(head, setup.target, records, report)
                )
                for number, (path, placement, head) in enumerate(
                    zip(setup.files, setup.placements, setup.heads, strict=True)
                )
            ]
            self.target_model.use_template(setup.chat_template, setup.template_variables)
            self._require_exactness()
            self._tiled = not (setup.exact and without_tiles())
            self._room.steady = all(one.threads for one in setup.placements)
            self._room.watch(window=FIRST_WINDOW)
            self._room.steady |= setup.steady or setup.exact
            self.slots = setup.slots or self._best_slots(checked, most)
            self.target, self.draft, self.head = self._open(stack, checked, self.slots)
            stack.callback(self._save)
            self._recalibration = Recalibration(
                self.target,
                {} if self.draft is None else {MODEL: self.draft},
                max(self.target_model.vocab.eos, 0),
            )
            if self.draft is not None and self.draft.n_ctx < self.target.n_ctx:
                notice(
                    f"{self.draft.model.path.name} sees the first tokens of a text and the last: "
                    f"{self.draft.n_ctx} of {self.target.n_ctx} (`ctx_size_draft`)"
                )
            self._materials = Materials(
                self.target_model.vocab,
                self.draft,
                self.head,
                lambda action: stack.callback(_noted, action, notice),
                self._translation(checked, notice, report),
                self.target.n_ctx,
            )
            self._own = {
                one.kind: build(one, self._materials)
                for one in setup.speculative.drafters
                if isinstance(one, REMEMBERING)
            }
            self.policy = self._policy(setup.speculative, self._known)
            self._stack = stack.pop_all()

    def _open(
        self, stack: ExitStack, checked: Checked, slots: int
    ) -> tuple[Context, Context | None, Kind | None]:
        """The target's context, the draft model's, and the head with its own."""
        running = self._with(self._threads)
        exact = self.setup.exact
        target = stack.enter_context(
            open_context(self.target_model, running.placements[0], checked, slots, exact=exact)
        )
        if running.speculative.drafters and target.model.on_servers:
            meet_servers(target, self._costs.report)
        if isinstance(target, ExactContext):
            self.rows = make_exact(
                target, self.setup, self._records, self._notice, tiled=self._tiled
            )
        draft: Context | None = None
        head: Kind | None = None
        drafting: list[DraftModel | Head] = [*running.speculative.models]
        drafting += [] if running.own_head is None else [running.own_head]
        models = [*self._models[1:], self.target_model]
        for file, (one, model) in enumerate(zip(drafting, models, strict=False), 1):
            if isinstance(one, Head):
                head = open_head(one, model, target, checked, slots)
                stack.callback(head.decoder.close)
            else:
                draft = stack.enter_context(
                    open_context(model, one.placement, checked, slots, file=file)
                )
        return target, draft, head

    def _require_exactness(self) -> None:
        if self.setup.exact and self.target_model.is_recurrent:
            raise UsageError(
                "`exact` cannot be kept: a recurrent model's state depends on the batches before",
                hint="leave out `exact`, or take a model without a recurrent state",
            )

    def _translation(
        self, checked: Checked, notice: Callable[[str], None], report: ProgressSink
    ) -> Translation | None:
        """How the tokens of target and draft correspond; None where they are the same."""
        other = checked.other_vocabulary
        if other is None or self.draft is None:
            return None
        target, draft = self.target_model, self.draft.model
        report(Progress("map", draft.path.name, 0, None))
        headers = checked.headers[0], checked.headers[self._models.index(draft)]
        translation = Translation(target.vocab, draft.vocab, *headers, other.tokenizers)
        notice(
            f"{draft.path.name} has another vocabulary than the target "
            f"({other.broken.detail}): what it drafts is translated; "
            f"{translation.shared} of the target's {target.vocab.size} tokens are in both"
        )
        return translation

    def _best_slots(self, checked: Checked, most: int) -> int:
        """How many sequences pay, chosen before their caches are allocated."""
        if most == 1:
            return 1
        setup = self._with(self._threads)
        known = self._costs.recorded(setup)
        if known is None:
            with ExitStack() as trial:
                known = self._costs.of(setup, *self._open(trial, checked, 1))
        return best_parallel(known[0].target, most)

    @property
    def target_model(self) -> Model:
        return self._models[0]

    @property
    def _contexts(self) -> list[Computing]:
        """In the order of `Setup.files`."""
        heads = [isinstance(one, Head) for one in self.setup.speculative.models]
        own = [self.head.decoder if is_head and self.head else self.draft for is_head in heads]
        return [self.target, *(one for one in own if one is not None)]

    def engine(self) -> Engine:
        """A new engine on the loaded models; one at a time, since they share the caches."""
        return self._engine(self.setup.speculative, self._own, self.policy)

    def engine_for(
        self,
        config: SpeculativeConfig,
        cached_prefixes: Mapping[int, list[int]] | None = None,
        lane: Lane | None = None,
    ) -> Engine:
        """An engine with other drafters and another policy, for comparisons.

        Nothing that was learned from texts goes back: costs and acceptance are copies of what
        the session knows, and counts of a lookup cache are neither read nor written.
        `cached_prefixes` is the last engine's, where its cached prompts may be used again. Engines
        that take turns have each a `lane` of their own.

        Raises ValueError for a draft model that is not loaded.
        """
        if any(one not in self.setup.speculative.models for one in config.models):
            raise ValueError("the draft model of a comparison must be the session's own")
        config = config.with_drafters(
            NgramCache() if isinstance(one, NgramCache) else one for one in config.drafters
        )
        policy = self._policy(config, lambda: deepcopy(self._known()))
        return self._engine(config, {}, policy, cached_prefixes, lane)

    def use_threads(self, target: int | None, draft: int | None) -> None:
        """Go on with other thread counts on the same contexts; None is one per physical core that
        other programs leave free.

        Engines for comparisons have the costs of these threads. `policy` keeps its own.
        """
        self.setup = self.setup.with_threads(target, draft)
        self._compute_with(self._threads)

    @property
    def _threads(self) -> tuple[int, ...]:
        """Of the target and of each drafting model: those given, or as many as there is room
        for."""
        target, *drafting = (
            one.threads or (self._room.most if model.output_on_gpu else self._room.threads)
            for model, one in zip(self._models, self.setup.placements, strict=True)
        )
        return (target, *drafting[-1:] * len(drafting))

    def _with(self, threads: tuple[int, ...]) -> Setup:
        """The set-up with these threads, as costs are kept for it."""
        return self.setup.with_threads(threads[0], threads[-1])

    def _compute_with(self, threads: tuple[int, ...]) -> None:
        for context, count in zip(self._contexts, threads, strict=True):
            context.use_threads(count)

    def _between(self, policy: Policy) -> None:
        """Before each round: as many threads as there are free cores, and costs that are true."""
        before = self._threads
        if self._room.watch(decoding_seconds(self._contexts)):
            self._costs.settle(self._with(before))
        threads = self._threads
        if threads != tuple(context.threads for context in self._contexts):
            self._costs.unsettle(self._with(before))
            self._compute_with(threads)
        if isinstance(policy, AdaptivePolicy):
            if policy.cost.threads != threads:
                cost = self._costs.switched(self._with(threads), policy.cost)
                policy.cost = cost if policy is self.policy else deepcopy(cost)
            self._recalibration.before_round(policy.cost)

    def _save(self) -> None:
        if not self._room.crowded:
            self._costs.settle(self._with(self._threads))
        self._costs.save()

    @property
    def costs(self) -> CostModel:
        """What target and draft cost here, measured now where that is not known."""
        return self._known()[0]

    def _known(self) -> Knowledge:
        threads = self._threads
        known = self._costs.recorded(self._with(threads))
        if known is None:
            known = self._costs.of(self._with(threads), self.target, self.draft, self.head)
            self._room.watch(window=FIRST_WINDOW)
            if self._room.crowded or self._threads != threads:
                known[0].sure = False
        if self.draft is not None and MODEL in known[0].drafters:
            known[0].drafters[MODEL].window = self.draft.n_ctx
        return known

    def _policy(self, config: SpeculativeConfig, known: Callable[[], Knowledge]) -> Policy:
        if isinstance(config.policy, FixedLength):
            return FixedPolicy(*astuple(config.policy))
        return AdaptivePolicy(*known()) if config.drafters else FixedPolicy(draft_max=0)

    def _engine(
        self,
        config: SpeculativeConfig,
        own: Mapping[str, Drafter],
        policy: Policy,
        cached: Mapping[int, list[int]] | None = None,
        lane: Lane | None = None,
    ) -> Engine:
        lane = lane or Lane(0, self.slots)
        wanted = list(config.drafters)
        if wanted and isinstance(config.policy, Adaptive) and not config.has(Grammar.kind):
            # It costs nothing, and proposes nothing without a grammar.
            wanted.append(Grammar())
        materials = self._materials
        if isinstance(policy, AdaptivePolicy):
            materials = replace(materials, wanted=partial(policy.would_ask, MODEL, STEPS))
        drafters = [own.get(one.kind) or build(one, materials) for one in wanted]
        vocab = self.target_model.vocab
        return Engine(
            self.target,
            vocab,
            drafters,
            policy,
            slots=lane.slots,
            first_slot=lane.first,
            cached=cached,
            before_step=partial(self._between, policy),
            clock=lane.clock,
        )

    def constrained(self, rules: Rules) -> State:
        """Rules at their start, closed with the session. Raises UsageError for bad ones."""
        state = rules.begin(self.target_model.vocab)
        self._stack.callback(state.close)
        return state

    def rollback_means(self) -> Sequence[tuple[str, str]]:
        """(model, means) for each model that cannot simply cut its cache."""
        contexts = [("target", self.target), ("draft", self.draft)]
        return [
            (name, context.rollback_means)
            for name, context in contexts
            if context is not None and context.rollback_means != "cut"
        ]

    def close(self) -> None:
        self._stack.close()


class Computing(Protocol):
    """A context of whatever kind, as far as threads and time go."""

    threads: int
    native_ns: int

    def use_threads(self, threads: int) -> None: ...


def decoding_seconds(contexts: Sequence[Computing]) -> float:
    """The time spent inside llama.cpp so far."""
    return sum(context.native_ns for context in contexts) / 1e9


def _noted(action: Callable[[], None], notice: Callable[[str], None]) -> None:
    """Run an action at the end of a session; what fails then must not take the answer with it."""
    try:
        action()
    except SpecliError as error:
        notice(error.message)
