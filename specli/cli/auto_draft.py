"""`--draft-model auto`: the draft that was made for a target, or the best that is here."""

from __future__ import annotations

import shlex
from pathlib import Path

from specli.cli.pair_find import local_candidates
from specli.drafts.make import find_made_draft
from specli.errors import UsageError
from specli.hub.remote import read_model_header
from specli.pairs.check import CheckOptions, examine
from specli.pairs.memory import free_memory
from specli.pairs.search import find_drafts

AUTO = "auto"


def automatic_draft(target: Path) -> Path:
    """A draft on this machine: made by `pair make`, else the best of those found or pulled.

    Raises UsageError when none is here that can make the target faster.
    """
    made = find_made_draft(target)
    if made is not None:
        return made
    model = examine(read_model_header(str(target)))
    here = local_candidates()
    findings = find_drafts(model, here, read_model_header, CheckOptions(free=free_memory()))
    for found in findings.drafts:
        if found.report.may_pay:
            return here[found.candidate]
    unfit = "small enough to pay" if findings.drafts else "that fits"
    raise UsageError(
        f"no draft {unfit} is here for {target}",
        hint=f"make one: {shlex.join(['specli', 'pair', 'make', str(target)])}; "
        f"or look for one: {shlex.join(['specli', 'pair', 'find', str(target)])}",
    )
