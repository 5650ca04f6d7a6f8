"""`specli pair make --from`: another family's model with the target's vocabulary."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import typer

PROMPT = "Why is the sky blue?"


def transplant_draft(target: str, donor: str, output: Path | None, *, as_json: bool) -> None:
    """Write the draft, then print what the two vocabularies share and how to use it."""
    from rich.console import Console

    from specli.drafts.make import made_draft_path
    from specli.drafts.transplant import transplant
    from specli.hub.references import fetch
    from specli.pairs.quantities import short_bytes
    from specli.ui.progress import reporting

    with reporting(quiet=as_json) as report:
        path, donor_path = fetch(target, report), fetch(donor, report)
        made = made_draft_path(path) if output is None else output.absolute()
        done = transplant(path, donor_path, made, report)
    shared = done.overlap
    if as_json:
        result = {
            "target": target,
            "from": donor,
            "draft": str(done.path),
            "bytes": done.path.stat().st_size,
            "tokens": shared.size,
            "tokens_shared": shared.matched,
            "tokens_averaged": done.averaged,
            "sample_tokens": shared.used,
            "sample_tokens_shared": shared.used_matched,
        }
        typer.echo(json.dumps(result, ensure_ascii=False, indent=2))
        return
    console = Console(markup=False, highlight=False)
    console.print(f"Shared: {shared}.", soft_wrap=True)
    if shared.matched < shared.size:
        rest = shared.size - shared.matched - done.averaged
        console.print(
            f"{done.averaged} tokens have the mean weights of those that spell them; {rest} have "
            "no counterpart and will not be drafted.",
            style="dim",
            soft_wrap=True,
        )
    console.print(f"Written: {done.path}, {short_bytes(done.path.stat().st_size)}", soft_wrap=True)
    draft = "auto" if output is None else str(done.path)
    command = ["specli", "run", "-m", target, "--draft-model", draft, PROMPT]
    console.print(shlex.join(command), style="bold", soft_wrap=True)
