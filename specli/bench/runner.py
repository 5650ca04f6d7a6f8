"""Measures settings in turns: `interleaved` decides the order, `Bench` measures one run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from time import perf_counter
from typing import Any

import psutil

from specli.bench.difference import Comparison, compared
from specli.bench.prompts import BenchPrompt
from specli.bench.report import PLAIN_NAME, Run
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.llama.chat import Message, prompt_tokens, with_system
from specli.sampling.params import SamplingParams
from specli.session import Session
from specli.speculative import SpeculativeConfig

WARM_UP_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to draft with the models of a session, by its name."""

    name: str
    speculative: SpeculativeConfig


PLAIN = Contender(PLAIN_NAME, SpeculativeConfig())
"""The target alone."""


def contenders(configs: Iterable[SpeculativeConfig]) -> list[Contender]:
    """Plain decoding, then every configuration that drafts, each name once."""
    found = {PLAIN.name: PLAIN}
    for config in configs:
        found.setdefault(str(config), Contender(str(config), config))
    return list(found.values())


Measure = Callable[[Contender, BenchPrompt, int, int], Run]
"""(contender, prompt, number of the prompt's turn, number of the run) to what was measured."""


def interleaved(
    contenders: Sequence[Contender], prompts: Sequence[BenchPrompt], runs: int, measure: Measure
) -> Iterator[Run]:
    """Measure every contender `runs` times on every prompt, and yield each run as it ends.

    A turn is one prompt measured with every contender, one straight after the other; turns go
    through all prompts before a prompt comes again, so that stopping early leaves every prompt
    with about as many turns. The first contender changes from turn to turn. Nothing is measured
    before its run is requested.
    """
    order = 0
    for number in range(runs):
        for index, prompt in enumerate(prompts):
            first = (number + index) % len(contenders)
            for contender in [*contenders[first:], *contenders[:first]]:
                yield measure(contender, prompt, number, order)
                order += 1


@dataclass(slots=True)
class _Answer:
    """What one run generated, all its turns; `first_ms` until the first token."""

    turns: list[Generation] = field(default_factory=list)
    requests: list[GenerationRequest] = field(default_factory=list)
    first_ms: float = 0.0

    @property
    def tokens(self) -> list[int]:
        return [token for turn in self.turns for token in turn.tokens]


@dataclass(slots=True)
class Bench:
    """Measures contenders over a loaded session: call it for one run.

    Every run has an engine and a policy of its own that have seen no text; only the further turns
    of a conversation use its cache. Costs and calibration are copies of the session's. `predict`
    is the most tokens of each turn's answer; `clock` must be the one of the engine's events. With
    `cache_prompt` the target keeps its cache from run to run.
    """

    session: Session
    predict: int
    sampling: SamplingParams = field(default_factory=SamplingParams)
    system: str | None = None
    cache_prompt: bool = False
    clock: Callable[[], float] = perf_counter
    _answers: dict[tuple[str, str, str], _Answer] = field(default_factory=dict)
    """First answers by setting, prompt and digest."""
    _cached_prefixes: dict[int, list[int]] = field(default_factory=dict)
    """What the target's cache holds, by slot, where it may be used."""

    def __call__(
        self, contender: Contender, prompt: BenchPrompt, number: int = 0, order: int = 0
    ) -> Run:
        """One run of one contender on one prompt, not compared with anything yet.

        Raises PromptTooLongError and DecodeError.
        """
        answer = self._answered(contender.speculative, prompt, self.predict)
        run = _run(contender.name, prompt.id, number, order, answer)
        self._answers.setdefault((run.setting, prompt.id, run.output), answer)
        return run

    def compared(self, runs: Sequence[Run], plain: Contender) -> list[Run]:
        """Runs of this bench with their comparisons: each with plain decoding's first answer.

        Texts that differ are replayed, once each. Runs on prompts that plain decoding has not
        answered stay without one.
        """
        first: dict[str, _Answer] = {}
        for run in runs:
            if run.setting == plain.name:
                first.setdefault(run.prompt, self._answers[plain.name, run.prompt, run.output])
        known: dict[tuple[str, str, str], Comparison] = {}
        found = []
        for run in runs:
            reference = first.get(run.prompt)
            if run.setting == plain.name or reference is None:
                found.append(run)
                continue
            key = run.setting, run.prompt, run.output
            if key not in known:
                known[key] = self._comparison(self._answers[key], reference)
            found.append(replace(run, compared=known[key]))
        return found

    def _comparison(self, answer: _Answer, plain: _Answer) -> Comparison:
        target, vocab = self.session.target, self.session.target_model.vocab
        turns = list(zip(answer.requests, answer.turns, strict=True))
        # A replay leaves other tokens in the cache.
        self._cached_prefixes = {}
        return compared(turns, plain.turns, target, vocab)

    def prompt_size(self, prompt: BenchPrompt) -> int:
        """Tokens of the prompt's first turn."""
        return len(self._request(self._messages(prompt), self.predict).prompt)

    def check(self, prompt: BenchPrompt) -> None:
        """Raises PromptTooLongError where the prompt leaves no room for an answer."""
        self.session.engine().check(self._request(self._messages(prompt), self.predict))

    def warm_up(self, contender: Contender, prompt: BenchPrompt) -> None:
        """A short run that counts nowhere: the first use of memory and kernels is slow."""
        self._answered(contender.speculative, prompt, min(self.predict, WARM_UP_TOKENS))

    def _answered(self, config: SpeculativeConfig, prompt: BenchPrompt, predict: int) -> _Answer:
        """Generate every turn of the prompt."""
        engine = self.session.engine_for(config, self._cached_prefixes)
        # Of a run that is interrupted nobody knows what it leaves.
        self._cached_prefixes = {}
        answer = _Answer()
        messages = self._messages(prompt)
        for question in (None, *prompt.further):
            if question is not None:
                messages.append(Message("user", question))
            request = self._request(messages, predict)
            turn = Generation()
            began = self.clock()
            engine.submit(request)
            for event in engine.run():
                turn.add(event)
            if turn.error is not None:
                raise turn.error
            if not answer.turns and turn.first_at is not None:
                answer.first_ms = 1000 * (turn.first_at - began)
            answer.turns.append(turn)
            answer.requests.append(request)
            messages.append(Message("assistant", turn.text))
        if self.cache_prompt:
            self._cached_prefixes = engine.cached_prefixes
        return answer

    def _messages(self, prompt: BenchPrompt) -> list[Message]:
        return with_system(self.system, [Message(*one) for one in prompt.messages])

    def _request(self, messages: list[Message], predict: int) -> GenerationRequest:
        tokens = prompt_tokens(self.session.target_model, messages)
        return GenerationRequest(tokens, max_tokens=predict, sampling=self.sampling)


_SUMMED = (
    *("prompt_n", "prompt_ms", "predicted_n", "predicted_ms", "rounds", "rounds_with_proposal"),
    *("drafted", "accepted", "draft_ms", "verify_ms"),
)


def _run(setting: str, prompt: str, number: int, order: int, answer: _Answer) -> Run:
    """The turns of an answer added up."""
    turns = [turn.stats for turn in answer.turns]
    totals: dict[str, Any] = {n: sum(getattr(stats, n) for stats in turns) for n in _SUMMED}
    by_drafter: dict[str, tuple[int, int]] = {}
    for name, counts in (item for stats in turns for item in stats.by_drafter.items()):
        drafted, accepted = by_drafter.get(name, (0, 0))
        by_drafter[name] = drafted + counts.drafted, accepted + counts.accepted
    return Run(
        setting=setting,
        prompt=prompt,
        number=number,
        order=order,
        first_token_ms=answer.first_ms,
        accepted_at=tuple(
            map(sum, zip_longest(*(stats.accepted_at for stats in turns), fillvalue=0))
        ),
        by_drafter=by_drafter,
        finish=answer.turns[-1].finish,
        output=hashlib.sha256(repr(answer.tokens).encode()).hexdigest()[:16],
        memory=psutil.Process().memory_info().rss,
        **totals,
    )
