"""A profile as the command or the file of another tool, and what that tool cannot be told."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from specli.cli.llama_flags import by_spelling
from specli.hub.huggingface import HubReference, parse_hub
from specli.hub.made import Recipe
from specli.option_values import written
from specli.options import AUTO, OPTIONS
from specli.profiles import Profile
from specli.speculative import DRAFT_MAX

ModelName = str | Recipe


@dataclass(slots=True)
class Export:
    """The text for the other tool, and in words what it leaves out."""

    text: str = ""
    notes: list[str] = field(default_factory=list)


def exported(profile: Profile, tool: str) -> Export:
    """The pair and the settings of a profile for one of `TOOLS`."""
    return TOOLS[tool](profile)


_LLAMA_NAMES = {
    "draft_max": "--spec-draft-n-max",
    "draft_min": "--spec-draft-n-min",
    "ngram_size": "--spec-ngram-simple-size-n",
    "ngram_draft": "--spec-ngram-simple-size-m",
}
"""Where the spelling that specli prefers has been taken out of llama.cpp."""

_LLAMA_KINDS = {
    "draft": "draft-simple",
    "ngram": "ngram-simple",
    "lookup": "ngram-cache",
    "suffix": "ngram-mod",
}


def _llama_server(profile: Profile) -> Export:
    export = Export()
    words = ["llama-server", *_llama_model(profile.target_model, "-m", "-hf", export)]
    if profile.draft_model is not None:
        words += _llama_model(profile.draft_model, "-md", "-hfd", export)
    for name, value in profile.defaults.given().items():
        words += _llama_flag(name, value, export)
    if profile.draft_model is not None and "draft_max" not in profile.defaults.given():
        export.notes.append("specli decides round by round how long to draft; llama-server has a "
                            "fixed length, --spec-draft-n-max")  # fmt: skip
    export.text = shlex.join(words) + "\n"
    return export


def _llama_model(model: ModelName, file: str, hub: str, export: Export) -> list[str]:
    reference = _hub(model)
    if reference is None:
        return [file, _named(model, export)]
    if hub == "-hf" and reference.file is not None:
        return [hub, reference.repo, "-hff", reference.file]
    return [hub, _tagged(reference, export)]


def _llama_flag(name: str, value: Any, export: Export) -> Iterator[str]:
    option = OPTIONS[name]
    spellings = [_LLAMA_NAMES.get(name, option.flag), *f"{option.flags} {option.aliases}".split()]
    flag = next((one for one in spellings if one in by_spelling()), None)
    if flag is None or (value == AUTO and name in ("draft_max", "threads", "threads_draft")):
        export.notes.append(f"llama-server has no {name}: {written(value)!r}")
    elif name == "spec_type":
        yield from (flag, ",".join(_LLAMA_KINDS.get(one, one) for one in value.split(",")))
    elif option.kind == "switch":
        opposite = by_spelling()[flag].opposite
        if value or opposite:
            yield flag if value else opposite[0]
    else:
        values = value.items() if isinstance(value, dict) else [value]
        for one in value if isinstance(value, tuple) else values:
            yield from (flag, f"{one[0]}{one[1]:+g}" if isinstance(value, dict) else str(one))


VLLM_SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "predict": "max_new_tokens",
}


def _vllm(profile: Profile) -> Export:
    export, given = Export(), profile.defaults.given()
    words = ["vllm", "serve", _vllm_model(profile.target_model, export)]
    length = _length(given, export, "vLLM")
    if profile.draft_model is not None:
        draft = _vllm_model(profile.draft_model, export)
        config = {"method": "draft_model", "model": draft, "num_speculative_tokens": length}
        words += ["--speculative-config", json.dumps(config)]
    elif "ngram_size" in given:
        config = {"method": "ngram", "num_speculative_tokens": given.get("ngram_draft", length)}
        config["prompt_lookup_max"] = given["ngram_size"]
        words += ["--speculative-config", json.dumps(config)]
    if isinstance(given.get("ctx_size"), int) and given["ctx_size"]:
        words += ["--max-model-len", str(given["ctx_size"])]
    if given.get("seed", -1) >= 0:
        words += ["--seed", str(given["seed"])]
    sampling = {VLLM_SAMPLING[name]: given[name] for name in VLLM_SAMPLING if name in given}
    if sampling:
        words += ["--override-generation-config", json.dumps(sampling)]
    used = ("draft_max", "ngram_size", "ngram_draft", "ctx_size", "seed", *VLLM_SAMPLING)
    export.notes += _left_out("vLLM", given, used)
    export.text = shlex.join(words) + "\n"
    return export


def _vllm_model(model: ModelName, export: Export) -> str:
    reference = _hub(model)
    return _named(model, export) if reference is None else _tagged(reference, export)


def _fireworks(profile: Profile) -> Export:
    export, given = Export(), profile.defaults.given()
    words = ["firectl", "deployment", "create", _fireworks_model("TARGET")]
    length = str(_length(given, export, "Fireworks"))
    if profile.draft_model is not None:
        words += ["--draft-model", _fireworks_model("DRAFT"), "--draft-token-count", length]
    elif "ngram_size" in given:
        words += ["--ngram-speculation-length", str(given["ngram_size"])]
        words += ["--draft-token-count", length]
    export.notes.append(
        "Fireworks runs no GGUF files: put its own names for "
        f"{profile.target_model}"
        + (f" and {profile.draft_model}" if profile.draft_model is not None else "")
    )
    export.notes += _left_out("a deployment", given, ("draft_max", "ngram_size"))
    export.text = shlex.join(words) + "\n"
    return export


def _fireworks_model(role: str) -> str:
    return f"accounts/fireworks/models/{role}"


_LM_STUDIO = {
    "temp": "temperature",
    "top_k": "topKSampling",
    "top_p": "topPSampling",
    "min_p": "minPSampling",
    "repeat_penalty": "repeatPenalty",
    "predict": "maxTokens",
    "stop": "stopStrings",
}


def _lm_studio(profile: Profile) -> Export:
    export, given = Export(), profile.defaults.given()
    words = ["lms", "load", _repository(profile.target_model, export)]
    if isinstance(given.get("ctx_size"), int) and given["ctx_size"]:
        words += ["--context-length", str(given["ctx_size"])]
    config = {_LM_STUDIO[name]: given[name] for name in _LM_STUDIO if name in given}
    if profile.draft_model is not None:
        config["draftModel"] = _repository(profile.draft_model, export)
    export.notes.append("the second line is the config of a request, as LM Studio's SDK has it")
    export.notes += _left_out("LM Studio", given, ("ctx_size", *_LM_STUDIO))
    export.text = f"{shlex.join(words)}\n{json.dumps(config)}\n"
    return export


def _repository(model: ModelName, export: Export) -> str:
    reference = _hub(model)
    return _named(model, export) if reference is None else reference.repo


_OLLAMA = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "repeat_last_n": "repeat_last_n",
    "seed": "seed",
    "predict": "num_predict",
    "ctx_size": "num_ctx",
    "gpu_layers": "num_gpu",
    "threads": "num_thread",
    "stop": "stop",
}


def _ollama(profile: Profile) -> Export:
    export, given = Export(), profile.defaults.given()
    reference = _hub(profile.target_model)
    if reference is None:
        source = _named(profile.target_model, export)
    else:
        source = f"hf.co/{_tagged(reference, export)}"
    lines = [f"FROM {source}"]
    for name, parameter in _OLLAMA.items():
        value = given.get(name)
        texts = value if isinstance(value, tuple) else [value]
        if value is not None and value not in (AUTO, "all"):
            lines += [f"PARAMETER {parameter} {_quoted(one)}" for one in texts]
    if given.get("system"):
        lines.append(f'SYSTEM """{given["system"]}"""')
    if profile.draft_model is not None:
        draft = profile.draft_model
        export.notes.append(f"a Modelfile names no draft model: {draft} is left out")
    words = [name for name in _OLLAMA if given.get(name) not in (AUTO, "all")]
    export.notes += _left_out("a Modelfile", given, (*words, "system"))
    export.text = "\n".join(lines) + "\n"
    return export


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


_QUANT = re.compile(r"[-.]((?:UD-)?(?:I?Q\d\w*|BF16|F16|F32))(?:-\d+-of-\d+)?\.gguf$", re.I)

TOOLS: Mapping[str, Callable[[Profile], Export]] = {
    "llama-server": _llama_server,
    "vllm": _vllm,
    "fireworks": _fireworks,
    "lm-studio": _lm_studio,
    "ollama": _ollama,
}


def _hub(model: ModelName | None) -> HubReference | None:
    return parse_hub(model) if isinstance(model, str) else None


def _tagged(reference: HubReference, export: Export) -> str:
    """OWNER/REPO:QUANT, with the type that a file has in its name."""
    found = _QUANT.search(reference.file or "")
    quant = reference.quant or (found[1] if found else None)
    if quant is None and reference.file is not None:
        export.notes.append(f"the file of {reference} cannot be named: check which one is taken")
    return f"{reference.repo}:{quant}" if quant else reference.repo


def _named(model: ModelName, export: Export) -> str:
    """A model that is no reference to a hub: a file, or the place of one that specli makes."""
    if isinstance(model, str) and model.endswith(".gguf"):
        return model
    export.notes.append(f"{model} has a file on this machine: `specli pair pull` prints its path")
    return "MODEL.gguf"


def _length(given: Mapping[str, Any], export: Export, tool: str) -> int:
    value = given.get("draft_max")
    if isinstance(value, int):
        return value
    export.notes.append(f"specli decides how long to draft; {tool} has a fixed length: {DRAFT_MAX}")
    return DRAFT_MAX


def _left_out(tool: str, given: Mapping[str, Any], used: tuple[str, ...]) -> Iterator[str]:
    for name, value in given.items():
        if name not in used:
            yield f"{tool} has no {name}: {written(value)!r}"
