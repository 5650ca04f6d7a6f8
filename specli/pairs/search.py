"""Looks among models for those that can draft for a target, best first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from specli.errors import SpecliError
from specli.gguf.header import Header
from specli.pairs.check import CheckOptions, ExaminedModel, PairCheck, check_pair, examine, merit

SHORTEST_FAMILY = 4
"""Letters that a family's name has at least: qwen, llama, gemma."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may draft: its name for people, what to type for it, and where it is.

    `size` in bytes, None where it is known from the header only.
    """

    name: str
    reference: str
    origin: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class FoundDraft:
    """A candidate that can draft for the target, be it by translation."""

    candidate: Candidate
    report: PairCheck


@dataclass(slots=True)
class Findings:
    """`drafts` are sorted, best first; how many others were skipped and why."""

    drafts: list[FoundDraft] = field(default_factory=list)
    not_smaller: int = 0
    other_vocabulary: int = 0
    other_target: int = 0
    unreadable: list[SpecliError] = field(default_factory=list)


def find_drafts(
    target: ExaminedModel,
    candidates: Iterable[Candidate],
    read: Callable[[str], Header],
    setup: CheckOptions,
) -> Findings:
    """Check every candidate that is smaller than the target by the rules of a pair.

    `read` gives the header of a reference; a SpecliError of it leaves that candidate out.
    """
    findings = Findings()
    for candidate in candidates:
        if not _smaller(candidate.size, target):
            findings.not_smaller += 1
            continue
        try:
            draft = examine(read(candidate.reference))
        except SpecliError as error:
            findings.unreadable.append(error)
            continue
        if not _smaller(draft.header.file_size, target):
            findings.not_smaller += 1
            continue
        report = check_pair(target, draft, setup)
        if report.compatible:
            findings.drafts.append(FoundDraft(candidate, report))
        elif draft.head is not None:
            findings.other_target += 1
        else:
            findings.other_vocabulary += 1
    findings.drafts.sort(key=lambda one: merit(one.report))
    return findings


def _smaller(size: int | None, target: ExaminedModel) -> bool:
    return size is None or size < target.header.file_size


def of_one_family(name: str, texts: Sequence[str]) -> bool:
    """Whether a family that `name` mentions is mentioned in one of `texts` too.

    Names only choose whose headers are worth fetching; the headers decide.
    """
    words = re.findall(rf"[a-z]{{{SHORTEST_FAMILY},}}", name.lower())
    return any(word in text.lower() for word in words for text in texts)
