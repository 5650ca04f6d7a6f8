"""The flags that every command which generates text shares, handed over as one object."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps

from specli.cli import flags, flags_ngram
from specli.cli.options import RunOptions, parse_draft_max, parse_gpu_layers, parse_logit_bias


def run_options(
    *,
    system: flags.System = None,
    model: flags.Model = None,
    model_draft: flags.ModelDraft = None,
    ctx_size: flags.ContextSize = None,
    draft_max: flags.DraftMax = None,
    draft_min: flags.DraftMin = None,
    draft_p_min: flags.DraftPMin = None,
    ngram: flags.Ngram = None,
    ngram_size: flags.NgramSize = None,
    ngram_draft: flags.NgramDraft = None,
    spec_type: flags.SpecType = None,
    lookup_cache: flags.LookupCache = None,
    lookup_cache_static: flags.LookupCacheStatic = None,
    map_k_size: flags_ngram.MapKSize = None,
    map_k_draft_max: flags_ngram.MapKDraft = None,
    map_k4v_size: flags_ngram.MapK4vSize = None,
    map_k4v_draft_max: flags_ngram.MapK4vDraft = None,
    map_k4v_min_hits: flags_ngram.MapK4vMinHits = None,
    mod_size: flags_ngram.ModSize = None,
    mod_draft_min: flags_ngram.ModDraftMin = None,
    mod_draft_max: flags_ngram.ModDraftMax = None,
    prediction: flags.Prediction = None,
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
) -> RunOptions:
    """The options that the flags give. Raises UsageError for a value that no flag takes."""
    return RunOptions(
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
        lookup_cache_static=lookup_cache_static,
        map_k_size=map_k_size,
        map_k_draft_max=map_k_draft_max,
        map_k4v_size=map_k4v_size,
        map_k4v_draft_max=map_k4v_draft_max,
        map_k4v_min_hits=map_k4v_min_hits,
        mod_size=mod_size,
        mod_draft_min=mod_draft_min,
        mod_draft_max=mod_draft_max,
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


def taking_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `options` Typer sees as the flags of `run_options`."""
    own = inspect.signature(command, eval_str=True)
    shared = inspect.signature(run_options, eval_str=True).parameters

    def parameters() -> Iterator[inspect.Parameter]:
        for parameter in own.parameters.values():
            for shown in shared.values() if parameter.name == "options" else [parameter]:
                yield shown.replace(kind=inspect.Parameter.KEYWORD_ONLY)

    @wraps(command)
    def with_flags(**given: object) -> None:
        options = run_options(**{name: given.pop(name) for name in shared})  # type: ignore[arg-type]
        command(options=options, **given)

    signature = own.replace(parameters=list(parameters()))
    with_flags.__signature__ = signature  # type: ignore[attr-defined]
    with_flags.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return with_flags
