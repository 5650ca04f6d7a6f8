"""`--draft-model auto`: the draft that was made for a target, or the best that is here."""

from __future__ import annotations

import shlex
from pathlib import Path

from specli.cli.pair_check import gains
from specli.cli.pair_find import local_candidates
from specli.errors import UsageError
from specli.hub.remote import read_model_header
from specli.making.make import find_made_draft
from specli.pairs.check import Setup, examine
from specli.pairs.memory import free_memory
from specli.pairs.search import find_drafts


def automatic_draft(target: Path) -> Path:
    """A draft on this machine: made by `pair make`, else the best of those found or pulled.

    Raises UsageError when none is here that can make the target faster.
    """
    made = find_made_draft(target)
    if made is not None:
        return made
    model = examine(read_model_header(str(target)))
    here = local_candidates()
    findings = find_drafts(model, here, read_model_header, Setup(free=free_memory()))
    for found in findings.drafts:
        if gains(found.report):
            return here[found.candidate]
    slow = "fast enough to gain" if findings.drafts else "that fits"
    raise UsageError(
        f"no draft {slow} is here for {target}",
        hint=f"make one: {shlex.join(['specli', 'pair', 'make', str(target)])}; "
        f"or look for one: {shlex.join(['specli', 'pair', 'find', str(target)])}",
    )
