"""Which drafts fit a target: those that were named, and those that can be found."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from specli.drafts.make import find_made_draft
from specli.errors import FetchError, SpecliError, UsageError
from specli.gguf.header import Header
from specli.gguf.heads import read_mtp_layers
from specli.hub.huggingface import HubReference, list_models
from specli.hub.local import local_models
from specli.hub.package import PackageReference
from specli.hub.quants import may_be_head
from specli.hub.references import locate
from specli.hub.remote import read_model_header
from specli.options import Options
from specli.pairs.check import CheckOptions, ExaminedModel, PairCheck, check_pair, examine, rank
from specli.pairs.heads import described, mtp_graph
from specli.pairs.placement import free_memory
from specli.pairs.search import Candidate, Findings, find_drafts, of_one_family
from specli.pairs.sizing import CacheTypes
from specli.profiles import profile_files, read_profile

CATALOGUE = "catalogue"
REPOSITORY = "repository"
"""Where a candidate is that is not here: in the catalogue, or in the target's repository."""
RANKED_BY = (
    "Cost: bytes that a draft token reads, as a share of a target token's. How often a draft is "
    "right cannot be read from its header: measure it with specli pair check --measure, or with "
    "specli bench."
)


def check_drafts(
    target: str, drafts: Sequence[str], options: Options
) -> tuple[list[PairCheck], list[SpecliError]]:
    """Reports, best first, and why some drafts could not be read.

    Raises what reading the first of them raised where none can be read.
    """
    draft_k, draft_v = options.cache_type_k_draft, options.cache_type_v_draft
    setup = CheckOptions(
        context=options.number("ctx_size"),
        types=CacheTypes(options.cache_type_k or "f16", options.cache_type_v or "f16"),
        draft_types=CacheTypes(draft_k or "f16", draft_v or "f16"),
        free=free_memory(),
        strict_vocab=bool(options.strict_vocab),
    )
    target_model = examine(read_model_header(target))
    reports: list[PairCheck] = []
    unreadable: list[SpecliError] = []
    for draft in drafts:
        try:
            reports.append(check_pair(target_model, examine(read_model_header(draft)), setup))
        except SpecliError as error:
            unreadable.append(error)
    if not reports:
        raise unreadable[0]
    return rank(reports), unreadable


def find(
    target: str,
    folders: Sequence[Path] = (),
    on_read: Callable[[str], None] = lambda _name: None,
    *,
    strict_vocab: bool = False,
) -> tuple[ExaminedModel, Findings]:
    """The target's header, and the drafts for it on this machine and in the catalogue.

    `on_read` is called with the name of each model before its header is read, which may be far.
    Raises ModelFileError and FetchError where the target cannot be read.
    """

    def read(reference: str) -> Header:
        on_read(reference)
        return read_model_header(reference)

    model = examine(read(target))
    candidates = {one.reference: one for one in local_candidates(folders)}
    unreadable: list[SpecliError] = []
    try:
        beside = _heads_beside(locate(target))
    except FetchError as error:
        beside = []
        unreadable.append(error)
    for one in beside:
        candidates.setdefault(one.reference, one)
    for reference in _catalogue(target, model):
        candidates.setdefault(reference, Candidate(reference, reference, CATALOGUE))
    setup = CheckOptions(free=free_memory(), strict_vocab=strict_vocab)
    findings = find_drafts(model, candidates.values(), read, setup)
    findings.unreadable += unreadable
    return model, findings


def own_heads(model: ExaminedModel) -> str | None:
    """The MTP layers in a target's own file in one line; None where none of them can draft."""
    mtp = read_mtp_layers(model.header)
    if mtp is None or mtp_graph(model.facts, mtp).verdict == "fail":
        return None
    return described(mtp)


def _heads_beside(target: Path | HubReference | PackageReference) -> list[Candidate]:
    """Files that are named as draft heads are, in the target's folder or repository.

    Raises FetchError where the Hub cannot be asked.
    """
    if isinstance(target, HubReference):
        return [
            Candidate(name, name, REPOSITORY, model.parts[0].size)
            for model in list_models(target).models
            if may_be_head(model.path)
            for name in [str(replace(target, file=model.path, quant=None))]
        ]
    if isinstance(target, Path):
        return [
            Candidate(path.stem, str(path), "folder", path.stat().st_size)
            for path in sorted(target.parent.glob("*.gguf"))
            if may_be_head(path.name) and path.name != target.name
        ]
    return []


def local_candidates(folders: Sequence[Path] = ()) -> dict[Candidate, Path]:
    """Every model on this machine, and its file."""
    return {
        # Names that other programs give are not always unique: those models are named by path.
        Candidate(
            found.name,
            found.name
            if found.origin == "huggingface" or found.name.startswith("package:")
            else str(found.path),
            found.origin,
            found.size,
        ): found.path
        for found in local_models(folders)
    }


def _catalogue(target: str, model: ExaminedModel) -> list[str]:
    """The drafts of the profiles whose target is of the model's family."""
    texts = [model.facts.name, Path(target).name]
    drafts = []
    for name, path in profile_files().items():
        if not of_one_family(name, texts):
            continue
        try:
            draft = read_profile(path).draft_model
        except UsageError:
            # A folder called profiles may hold other programs' files.
            continue
        # A draft that is still to be made has no header to look at.
        if isinstance(draft, str):
            drafts.append(draft)
    return drafts


def automatic_draft(target: Path, *, strict_vocab: bool = False) -> Path:
    """A draft on this machine: made by `pair make`, else the best of those found or pulled; one
    with another vocabulary last, and not at all with `strict_vocab`.

    Raises UsageError when none is here that can make the target faster.
    """
    made = find_made_draft(target)
    if made is not None:
        return made
    model = examine(read_model_header(str(target)))
    here = local_candidates()
    setup = CheckOptions(free=free_memory(), strict_vocab=strict_vocab)
    findings = find_drafts(model, here, read_model_header, setup)
    for found in findings.drafts:
        if found.report.may_pay:
            return here[found.candidate]
    slow = "fast enough to gain" if findings.drafts else "that fits"
    raise UsageError(
        f"no draft {slow} is here for {target}",
        hint=f"make one: {shlex.join(['specli', 'pair', 'make', str(target)])}; "
        f"or look for one: {shlex.join(['specli', 'pair', 'find', str(target)])}",
    )


def cost_share(report: PairCheck) -> str:
    """The cost of a draft token as a share of a target token's."""
    return f"1/{report.cost_ratio:.1f}"


def report_json(report: PairCheck) -> dict[str, object]:
    """A report as `--json` prints it."""
    return {
        "draft": report.draft.header.name,
        "head": None if report.draft.head is None else asdict(report.draft.head),
        "verdict": report.verdict,
        "compatible": report.compatible,
        "mapped": report.verdict == "mapped",
        "rules": [asdict(rule) for rule in report.rules],
        "context": report.context,
        "cost_ratio": round(report.cost_ratio, 3),
        "memory": {
            name: {**asdict(need), "total": need.total}
            for name, need in zip(("target", "draft"), report.memory, strict=True)
        },
    }


def findings_json(findings: Findings) -> dict[str, object]:
    """The drafts that were found, and what was skipped, as `--json` prints them."""
    return {
        "drafts": [
            {
                "name": found.candidate.name,
                "reference": found.candidate.reference,
                "origin": found.candidate.origin,
                "bytes": found.report.draft.header.file_size,
                **report_json(found.report),
            }
            for found in findings.drafts
        ],
        "passed_over": {
            "other_vocabulary": findings.other_vocabulary,
            "other_target": findings.other_target,
            "not_smaller": findings.not_smaller,
        },
        "unreadable": [str(error) for error in findings.unreadable],
    }
