"""`specli tune`: the fastest settings for a pair on this machine, written as a profile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from specli.cli import flags
from specli.cli.options import RunOptions, parse_gpu_layers
from specli.errors import UsageError


def tune(
    profile: flags.Profile = None,
    model: flags.Model = None,
    model_draft: flags.ModelDraft = None,
    ctx_size: flags.ContextSize = None,
    budget: Annotated[
        str,
        typer.Option(
            "--budget", metavar="TIME", help="Time to measure in, such as 90s, 3m or 1h30m."
        ),
    ] = "3m",
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="NAME|FILE",
            help="The profile to write. Default: the pair's name with -tuned, in your "
            "configuration folder.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts", metavar="FILE", help="Measure on these prompts, not the shipped."
        ),
    ] = None,
    lossy: Annotated[
        bool,
        typer.Option(
            "--lossy",
            help="Try an 8-bit cache for the target too, which changes its text a little.",
        ),
    ] = False,
    temp: flags.Temp = None,
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
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress; only the outcome.")
    ] = False,
    verbose: flags.Verbose = False,
) -> None:
    """Find the fastest settings for a pair on this machine, within a time, and keep them.

    Drafters, draft lengths, cut-offs, threads, cache types and GPU layers are raced against plain
    decoding, in turns on the same prompts. What a flag or the profile sets for the machine stays.
    Where plain decoding wins, that is said, and a profile is written only with -o.
    """
    options = RunOptions(
        model=model,
        model_draft=model_draft,
        ctx_size=ctx_size,
        temp=temp,
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
    seconds = parse_duration(budget)

    from specli.cli.tuning import TuneTask, run_tuning

    task = TuneTask(
        budget=seconds,
        profile=profile,
        out=out,
        prompts=prompts,
        lossy=lossy,
        quiet=quiet,
        verbose=verbose,
    )
    code = run_tuning(options, task)
    if code:
        raise typer.Exit(code)


_UNITS = {"h": 3600, "m": 60, "s": 1, "": 1}


def parse_duration(text: str) -> float:
    """Seconds from a time such as `90`, `90s`, `3m` or `1h30m`. Raises UsageError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms]?)", text)
    whole = "".join(number + unit for number, unit in parts)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if whole != re.sub(r"\s", "", text) or seconds <= 0:
        raise UsageError(f"--budget takes a time, not {text!r}", hint="such as 90s, 3m or 1h30m")
    return seconds
