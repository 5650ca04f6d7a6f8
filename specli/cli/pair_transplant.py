"""`specli pair make --from`: another family's model with the target's vocabulary."""

from __future__ import annotations

from pathlib import Path

from specli.cli.output import Sink
from specli.cli.run import example


def transplant_draft(target: str, donor: str, output: Path | None, sink: Sink) -> None:
    """Write the draft, and show what the two vocabularies share and how to use it."""
    from specli.drafts.make import made_draft_path
    from specli.drafts.transplant import transplant
    from specli.hub.references import fetch
    from specli.pairs.quantities import short_bytes
    from specli.ui.progress import reporting

    with reporting(quiet=sink.json) as report:
        path, donor_path = fetch(target, report), fetch(donor, report)
        made = made_draft_path(path) if output is None else output.absolute()
        done = transplant(path, donor_path, made, report)
    shared, size = done.overlap, done.path.stat().st_size
    sink.data(
        {
            "target": target,
            "from": donor,
            "draft": str(done.path),
            "bytes": size,
            "tokens": shared.size,
            "tokens_shared": shared.matched,
            "tokens_averaged": done.averaged,
            "sample_tokens": shared.used,
            "sample_tokens_shared": shared.used_matched,
        }
    )
    sink.show(f"Shared: {shared}.")
    if shared.matched < shared.size:
        rest = shared.size - shared.matched - done.averaged
        sink.show(
            f"{done.averaged} tokens have the mean weights of those that spell them; {rest} have "
            "no counterpart and will not be drafted.",
            style="dim",
        )
    sink.show(f"Written: {done.path}, {short_bytes(size)}")
    draft = "auto" if output is None else str(done.path)
    sink.show(example(target, "--draft-model", draft), style="bold")
