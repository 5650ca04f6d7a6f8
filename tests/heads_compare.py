"""specli beside llama.cpp's own program on the same files, greedy, at a fixed draft length."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from specli.engine.sequence import GenerationRequest
from specli.events import Round
from specli.generation import Generation
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from specli.speculative import DrafterConfig, FixedLength, Head, SpeculativeConfig
from tests.heads_cases import Case
from tests.tiny_heads import CYCLE, FIRST_BYTE

Rounds = tuple[tuple[int, int], ...]
"""(accepted, drafted) of each round."""

TOKENS = 32
CONTEXT = 256
_ATTEMPTS = 20
"""llama-speculative-simple now and then ends before its log has been written."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A text, and (accepted, drafted) of each round; see `counted`."""

    text: str
    rounds: Rounds

    @property
    def accepted(self) -> int:
        return sum(accepted for accepted, _drafted in self.rounds)

    @property
    def drafted(self) -> int:
        return sum(drafted for _accepted, drafted in self.rounds)


def counted(rounds: Iterable[tuple[int, int]], limit: int, emitted: int | None = None) -> Rounds:
    """The rounds of llama.cpp's program as specli counts them, in a text of at most `limit` tokens
    that ended after `emitted` of them.

    The program goes on until it has more tokens than it was asked for, and bounds a draft by what
    is left of them less one. A bound of 0 means none to it: with one token left, and again with
    none, it drafts in full. specli needs no draft for the last token, and stops there. Where a
    token ends the text inside an accepted draft, the program counts what it accepted past it.
    """
    kept, done, end = [], 0, limit if emitted is None else emitted
    for accepted, drafted in rounds:
        if done > limit - 2 or done >= end:
            break
        kept.append((min(accepted, end - done), drafted))
        done += accepted + 1
    return tuple(kept)


def uncounted_end(rounds: Sequence[tuple[int, Sequence[int]]], emitted: int) -> int:
    """1 where the text ended with a token from within a draft, which specli counts as accepted and
    llama.cpp's program does not (`common_sampler_sample_and_accept_n`); else 0.

    `rounds` are specli's accepted tokens and proposals, of a text of so many tokens.
    """
    if not rounds or sum(accepted + 1 for accepted, _proposal in rounds) == emitted:
        return 0
    accepted, proposal = rounds[-1]
    return int(accepted < len(proposal))


def told_rounds(log: str) -> Rounds:
    """The rounds that llama.cpp's program tells of at --log-verbosity 5."""
    told = re.findall(r"accepted (\d+)/(\d+) draft tokens", log)
    return tuple((int(accepted), int(drafted)) for accepted, drafted in told)


Draft = tuple[tuple[tuple[int, float], ...], ...]
"""What a head found for each token of a proposal: its best tokens and their probabilities."""

_CANDIDATE = re.compile(r"draft candidate +(\d+), pos +(\d+): +(\d+) \( *([\d.]+)\)")
NEAR = 0.02
"""Two of a head's probabilities this near are a near tie: the same rows in batches of other shapes
differ by less, and more than the last digit that llama.cpp prints."""


def told_drafts(log: str) -> list[Draft]:
    """The drafts of llama.cpp's program, one for each of `told_rounds`."""
    drafts: list[list[list[tuple[int, float]]]] = []
    for rank, step, token, chance in _CANDIDATE.findall(log):
        if rank == step == "0":
            drafts.append([])
        if rank == "0":
            drafts[-1].append([])
        drafts[-1][-1].append((int(token), float(chance)))
    return [tuple(tuple(found) for found in draft) for draft in drafts]


def other_drafts(
    ours: Sequence[tuple[int, Sequence[int]]], log: str, limit: int
) -> tuple[list[int], list[int]]:
    """Where a head drafted other tokens here than in llama.cpp's program, though both began a round
    there: after so many tokens of the text, first those that a near tie explains.

    `ours` are the accepted tokens and the proposal of each round.
    """
    proposals, done = {}, 0
    for accepted, proposal in ours:
        proposals[done] = proposal
        done += accepted + 1
    ties: list[int] = []
    others: list[int] = []
    done = 0
    # The program now and then ends before its log has been written.
    for (accepted, _drafted), draft in zip(told_rounds(log), told_drafts(log), strict=False):
        if done > limit - 2:
            break
        for token, found in zip(proposals.get(done, ()), draft, strict=False):
            if token != found[0][0]:
                near = found[0][1] - dict(found).get(token, 0.0) <= NEAR
                (ties if near else others).append(done)
                break
        done += accepted + 1
    return ties, others


def prompts(count: int) -> list[str]:
    """Short texts of the automaton's letters, of various lengths, each ending otherwise."""
    letters = [chr(token - FIRST_BYTE) for token in CYCLE]
    return [
        "".join(
            letters[(7 * number + 11 * index + index * index) % len(letters)]
            for index in range(3 + number % 9)
        )
        for number in range(count)
    ]


def llama_cpp(
    program: Path,
    target: Path,
    head: Path | None,
    kind: str,
    prompt: str,
    length: int,
    p_min: float = 0.0,
    tokens: int = TOKENS,
) -> Outcome:
    """The outcome of llama-speculative-simple, with all that it does past the limit."""
    command = [str(program), "-m", str(target), "-p", prompt, "-n", str(tokens), "--temp", "0"]
    command += ["-t", "1", "-c", str(CONTEXT), "--spec-type", kind]
    command += ["--spec-draft-n-max", str(length), "--spec-draft-p-min", str(p_min)]
    command += [] if head is None else ["-md", str(head)]
    command += ["--log-verbosity", "5", "--no-escape"]
    for _ in range(_ATTEMPTS):
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=120, check=True
        )
        said = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        if "n_accept" in "".join(said):
            text = said[0].strip().removeprefix(prompt)
            return Outcome(text, told_rounds(said[1]))
    raise RuntimeError(f"{' '.join(command)} printed no counts")


@contextmanager
def loaded(
    target: Path, head: DrafterConfig, records: Path, length: int, p_min: float = 0.0
) -> Iterator[Session]:
    """A session that drafts with a head alone, at a fixed length."""
    config = SpeculativeConfig((head,), FixedLength(draft_max=length, p_min=p_min))
    setup = Setup(target, n_ctx=CONTEXT, slots=1, speculative=config)
    with Session(setup, records, lambda _text: None) as session:
        yield session


def specli(session: Session, prompt: str, tokens: int = TOKENS) -> Outcome:
    """The outcome of one request."""
    generation, rounds = Generation(), []
    engine = session.engine()
    ids = session.target_model.vocab.tokenize(prompt, add_special=True)
    engine.submit(
        GenerationRequest(
            ids, max_tokens=tokens, sampling=SamplingParams(temperature=0), ignore_end=True
        )
    )
    for event in engine.run():
        generation.add(event)
        if isinstance(event, Round):
            rounds.append((event.accepted, len(event.proposal_sources)))
    return Outcome(generation.text, counted(rounds, tokens))


def differences(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], *, counts: bool = True
) -> list[str]:
    """Where two lists of outcomes differ, one line each.

    Without `counts` only in the text: where a target restores checkpoints, llama.cpp verifies the
    accepted tokens as a draft once more and counts that round alone.
    """
    return [
        f"prompt {number}: {mine} and {other}"
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True))
        if (mine != other if counts else mine.text != other.text)
    ]


def run(
    case: Case, length: int, prompts: Sequence[str], program: Path, folder: Path
) -> tuple[list[Outcome], list[Outcome]]:
    """The outcomes of specli and of llama.cpp for one case, its files written to a folder."""
    target, head = folder / "target.gguf", None
    target.write_bytes(case.target.bytes())
    if case.head is not None:
        head = folder / "head.gguf"
        head.write_bytes(case.head.bytes())
    with loaded(target, Head(case.kind, head), folder / "records", length, case.p_min) as session:
        ours = [specli(session, prompt) for prompt in prompts]
    theirs = [
        llama_cpp(program, target, head, case.kind, prompt, length, case.p_min)
        for prompt in prompts
    ]
    return ours, [Outcome(one.text[:TOKENS], counted(one.rounds, TOKENS)) for one in theirs]
