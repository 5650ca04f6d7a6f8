"""`specli bench`: how fast a pair is here, by kind of text, and what drafting brings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from specli.cli import flags
from specli.cli.options import RunOptions, parse_draft_max, parse_gpu_layers
from specli.errors import UsageError

RUNS = 5
PREDICT = 128

app = typer.Typer(
    help="Measure a pair: speed and acceptance by kind of text, against plain decoding.",
    invoke_without_command=True,
)


@app.callback()
def bench(
    context: typer.Context,
    profile: flags.Profile = None,
    model: flags.Model = None,
    model_draft: flags.ModelDraft = None,
    ctx_size: flags.ContextSize = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Times that each setting meets each prompt.")
    ] = RUNS,
    predict: Annotated[
        int,
        typer.Option("-n", "--predict", "--n-predict", min=1, help="Most tokens of an answer."),
    ] = PREDICT,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="Prompts: text, one a line; or .jsonl with prompt, messages or turns (as in "
            "Spec-Bench and MT-Bench). Default: those that ship.",
        ),
    ] = None,
    categories: Annotated[
        str | None,
        typer.Option("--categories", metavar="NAME,...", help="Only prompts of these categories."),
    ] = None,
    cache_prompt: Annotated[
        bool,
        typer.Option(
            "--cache-prompt",
            help="Keep prompts in the target's cache from run to run: saves their time, but the "
            "time to the first token then says little.",
        ),
    ] = False,
    draft_max: Annotated[
        str | None,
        typer.Option(
            "--draft-max",
            "--draft",
            "--spec-draft-n-max",
            metavar="N|auto,...",
            help="Draft lengths to compare. Default: what specli run would do.",
            rich_help_panel=flags.DRAFTING,
        ),
    ] = None,
    draft_p_min: Annotated[
        str | None,
        typer.Option(
            "--draft-p-min",
            "--spec-draft-p-min",
            metavar="P,...",
            help="Cut-offs to compare, each with every length.",
            rich_help_panel=flags.DRAFTING,
        ),
    ] = None,
    spec_type: flags.SpecType = None,
    ngram: flags.Ngram = None,
    ngram_size: flags.NgramSize = None,
    ngram_draft: flags.NgramDraft = None,
    temp: flags.Temp = None,
    seed: flags.Seed = None,
    threads: flags.Threads = None,
    threads_draft: flags.ThreadsDraft = None,
    gpu_layers: flags.GpuLayers = None,
    gpu_layers_draft: flags.GpuLayersDraft = None,
    device: flags.Device = None,
    device_draft: flags.DeviceDraft = None,
    cache_type_k: flags.CacheTypeK = None,
    cache_type_v: flags.CacheTypeV = None,
    cache_type_k_draft: flags.CacheTypeKDraft = None,
    cache_type_v_draft: flags.CacheTypeVDraft = None,
    flash_attn: flags.FlashAttn = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Keep the report, every run included.",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="Keep a row for every run.", rich_help_panel=flags.OUTPUT
        ),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Keep a page with charts that opens offline; needs specli[bench].",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", help="No progress, no notes.", rich_help_panel=flags.OUTPUT),
    ] = False,
    verbose: flags.Verbose = False,
) -> None:
    """Measure a pair: speed and acceptance by kind of text, against plain decoding.

    Plain decoding and each setting take turns on every prompt, each run with empty caches unless
    --cache-prompt is given. Ctrl-C ends it early and shows what is there.
    """
    if context.invoked_subcommand is not None:
        return
    lengths = parse_lengths(draft_max)
    cuts = parse_cuts(draft_p_min)
    options = RunOptions(
        model=model,
        model_draft=model_draft,
        ctx_size=ctx_size,
        spec_type=spec_type,
        ngram=ngram,
        ngram_size=ngram_size,
        ngram_draft=ngram_draft,
        predict=predict,
        temp=temp,
        seed=seed,
        threads=threads,
        threads_draft=threads_draft,
        gpu_layers=parse_gpu_layers("--gpu-layers", gpu_layers),
        gpu_layers_draft=parse_gpu_layers("--gpu-layers-draft", gpu_layers_draft),
        device=device,
        device_draft=device_draft,
        cache_type_k=cache_type_k,
        cache_type_v=cache_type_v,
        cache_type_k_draft=cache_type_k_draft,
        cache_type_v_draft=cache_type_v_draft,
        flash_attn=flash_attn,
    )

    from specli.cli.benching import BenchTask, run_bench

    task = BenchTask(
        runs=runs,
        predict=predict,
        profile=profile,
        prompts=prompts,
        categories=tuple(_parts(categories)),
        lengths=lengths,
        cuts=cuts,
        cache_prompt=cache_prompt,
        json_file=json_file,
        csv_file=csv_file,
        html_file=html_file,
        quiet=quiet,
        verbose=verbose,
    )
    code = run_bench(options, task)
    if code:
        raise typer.Exit(code)


@app.command("compare")
def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A report of --json.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another one.")],
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Compare benches of different machines or models all the same."
        ),
    ] = False,
) -> None:
    """Compare two benches: speed-ups by setting and kind of text, and what has changed."""
    from specli.cli.benching import run_compare

    run_compare(first, second, force=force)


def parse_lengths(value: str | None) -> tuple[int | None, ...]:
    """Draft lengths from a list; None stands for `auto`. Raises UsageError."""
    lengths = tuple(parse_draft_max(part) for part in _parts(value))
    if 0 in lengths:
        raise UsageError(
            "--draft-max 0 is plain decoding, which is measured anyway", hint="leave the 0 out"
        )
    return lengths


def parse_cuts(value: str | None) -> tuple[float, ...]:
    """Probabilities from a list. Raises UsageError."""
    cuts = []
    for part in _parts(value):
        try:
            cut = float(part)
        except ValueError:
            cut = -1.0
        if not 0 <= cut <= 1:
            raise UsageError(
                f"--draft-p-min takes probabilities from 0 to 1, not {part!r}", hint="such as 0,0.5"
            )
        cuts.append(cut)
    return tuple(cuts)


def _parts(value: str | None) -> list[str]:
    return [part.strip() for part in (value or "").split(",") if part.strip()]
