"""`specli run`: one prompt, its answer, and how well the speculation did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from specli.cli import flags
from specli.cli.options import RunOptions, parse_draft_max, parse_gpu_layers, parse_logit_bias
from specli.errors import UsageError

_PROMPTS = 'specli run "Why is the sky blue?", or -f FILE, or pipe it in'


def run(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The prompt; `-` reads it from stdin.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read the prompt from a file."),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option("--system", "-sys", "--system-prompt", metavar="TEXT", help="System message."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Send the prompt as it is, without a chat template.")
    ] = False,
    profile: flags.Profile = None,
    model: flags.Model = None,
    model_draft: flags.ModelDraft = None,
    ctx_size: flags.ContextSize = None,
    draft_max: flags.DraftMax = None,
    draft_min: flags.DraftMin = None,
    draft_p_min: flags.DraftPMin = None,
    ngram: flags.Ngram = None,
    ngram_size: flags.NgramSize = None,
    ngram_draft: flags.NgramDraft = None,
    no_draft: flags.NoDraft = False,
    spec_type: flags.SpecType = None,
    prediction: flags.Prediction = None,
    lookup_cache: flags.LookupCache = None,
    recalibrate: flags.Recalibrate = False,
    predict: flags.Predict = None,
    temp: flags.Temp = None,
    top_k: flags.TopK = None,
    top_p: flags.TopP = None,
    min_p: flags.MinP = None,
    repeat_penalty: flags.RepeatPenalty = None,
    presence_penalty: flags.PresencePenalty = None,
    frequency_penalty: flags.FrequencyPenalty = None,
    repeat_last_n: flags.RepeatLastN = None,
    seed: flags.Seed = None,
    logit_bias: flags.LogitBias = None,
    grammar: flags.Grammar = None,
    grammar_file: flags.GrammarFile = None,
    json_schema: flags.JsonSchema = None,
    stop: flags.Stop = None,
    ignore_eos: flags.IgnoreEos = False,
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
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    explain: flags.Explain = False,
    check: flags.Check = False,
) -> None:
    """Answer a prompt with speculative decoding and show how well it does.

    Without -m the embedded SmolLM2 pair is used, fetched on the first run.
    """
    options = RunOptions(
        model=model,
        model_draft=model_draft,
        ctx_size=ctx_size,
        draft_max=parse_draft_max(draft_max),
        draft_min=draft_min,
        draft_p_min=draft_p_min,
        ngram=ngram,
        ngram_size=ngram_size,
        ngram_draft=ngram_draft,
        spec_type=spec_type,
        lookup_cache=lookup_cache,
        prediction=prediction,
        predict=predict,
        temp=temp,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        repeat_last_n=repeat_last_n,
        seed=seed,
        logit_bias=parse_logit_bias(logit_bias or []),
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
        system=system,
    )
    text = read_prompt(prompt, file)
    gbnf, schema = _constraint(grammar, grammar_file, json_schema)

    from specli.cli.generate import Task, generate

    task = Task(
        prompt=text,
        raw=raw,
        stops=tuple(stop or ()),
        ignore_end=ignore_eos,
        grammar=gbnf,
        json_schema=schema,
        profile=profile,
        draft=not no_draft,
        recalibrate=recalibrate,
        as_json=as_json,
        quiet=quiet,
        verbose=verbose,
        explain=explain,
        check=check,
    )
    code = generate(options, task)
    if code:
        raise typer.Exit(code)


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt from the argument, a file or stdin.

    Raises UsageError when there is none, or an empty one.
    """
    if file is not None:
        if prompt is not None:
            raise UsageError("a prompt and -f were both given", hint="give one of them")
        return _some(read_text(file), f"{file} is empty")
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        # A shell's `echo` ends the prompt with a newline that nobody meant.
        return _some(text.removesuffix("\n"), "no prompt came from stdin")
    if prompt is None:
        raise UsageError("no prompt was given", hint=_PROMPTS)
    return _some(prompt, "the prompt is empty")


def _some(text: str, problem: str) -> str:
    """`text`, unless there is none: a chat template would make a prompt of nothing at all."""
    if not text:
        raise UsageError(problem, hint=_PROMPTS)
    return text


def _constraint(
    grammar: str | None, grammar_file: Path | None, json_schema: str | None
) -> tuple[str | None, str | None]:
    """(grammar, JSON schema), at most one of them set. Raises UsageError for more than one."""
    if sum(given is not None for given in (grammar, grammar_file, json_schema)) > 1:
        raise UsageError(
            "more than one of --grammar, --grammar-file and --json-schema was given",
            hint="a text follows one grammar: give one of them",
        )
    if grammar_file is not None:
        return read_text(grammar_file), None
    if json_schema is not None and not json_schema.lstrip().startswith(("{", "true", "false")):
        return None, read_text(Path(json_schema))
    return grammar, json_schema


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint=f"check the path, seen from {Path.cwd()}"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8"
        ) from None
