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
from specli.option_table import AUTO, OPTIONS
from specli.option_values import written
from specli.profiles import Profile
from specli.speculative import DRAFT_MAX

ModelName = str | Recipe


@dataclass(slots=True)
class Export:
    """A pair with its settings, its text for another tool, and in words what that leaves out."""

    target: ModelName
    draft: ModelName | None
    given: Mapping[str, Any]
    text: str = ""
    notes: list[str] = field(default_factory=list)

    def model(self, model: ModelName, form: Callable[[HubReference], str]) -> str:
        """A model: by its reference to the Hub, else a file, or the place of one that specli
        makes."""
        reference = _hub(model)
        if reference is not None:
            return form(reference)
        if isinstance(model, str) and model.endswith(".gguf"):
            return model
        self.notes.append(f"{model} has a file on this machine: `specli pair pull` prints its path")
        return "MODEL.gguf"

    def tagged(self, reference: HubReference) -> str:
        """OWNER/REPO:QUANT, with the type that a file has in its name."""
        found = _QUANT.search(reference.file or "")
        quant = reference.quant or (found[1] if found else None)
        if quant is None and reference.file is not None:
            self.notes.append(f"the file of {reference} cannot be named: check which one is taken")
        return f"{reference.repo}:{quant}" if quant else reference.repo

    def length(self, tool: str) -> int:
        """The draft length for a tool that has a fixed one."""
        value = self.given.get("draft_max")
        if isinstance(value, int):
            return value
        note = f"specli decides how long to draft; {tool} has a fixed length: {DRAFT_MAX}"
        self.notes.append(note)
        return DRAFT_MAX

    def under(self, names: Mapping[str, str]) -> dict[str, Any]:
        """The settings that are given, under another tool's names."""
        return {names[name]: self.given[name] for name in names if name in self.given}

    def flags(self, names: Mapping[str, str]) -> list[str]:
        """The same as flags; a number that stands for the tool's own choice is none."""
        own = {"ctx_size": 0, "seed": -1}
        found = {name: self.given.get(name) for name in names}
        return [
            word
            for name, value in found.items()
            if isinstance(value, int) and value != own.get(name)
            for word in (names[name], str(value))
        ]

    def leave_out(self, tool: str, *used: str) -> None:
        """Note the settings that a tool does not have."""
        for name, value in self.given.items():
            if name not in used:
                self.notes.append(f"{tool} has no {name}: {written(value)!r}")


def exported(profile: Profile, tool: str) -> Export:
    """The pair and the settings of a profile for one of `TOOLS`."""
    export = Export(profile.target_model, profile.draft_model, profile.defaults.given())
    made = TOOLS[tool](export)
    export.text = (made if isinstance(made, str) else shlex.join(made)) + "\n"
    return export


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


def _llama_server(export: Export) -> list[str]:
    words = ["llama-server", *_llama_model(export.target, "-m", "-hf", export)]
    if export.draft is not None:
        words += _llama_model(export.draft, "-md", "-hfd", export)
    for name, value in export.given.items():
        words += _llama_flag(name, value, export)
    if export.draft is not None and "draft_max" not in export.given:
        export.notes.append("specli decides round by round how long to draft; llama-server has a "
                            "fixed length, --spec-draft-n-max")  # fmt: skip
    return words


def _llama_model(model: ModelName, file: str, hub: str, export: Export) -> list[str]:
    reference = _hub(model)
    if reference is not None and hub == "-hf" and reference.file is not None:
        return [hub, reference.repo, "-hff", reference.file]
    return [file if reference is None else hub, export.model(model, export.tagged)]


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
        values = written(value)
        for one in values if isinstance(values, list) else [values]:
            yield from (flag, str(one))


VLLM = {"ctx_size": "--max-model-len", "seed": "--seed"}
VLLM_SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "predict": "max_new_tokens",
}


def _vllm(export: Export) -> list[str]:
    given = export.given
    words = ["vllm", "serve", export.model(export.target, export.tagged)]
    length = export.length("vLLM")
    config: dict[str, Any] = {}
    if export.draft is not None:
        draft = export.model(export.draft, export.tagged)
        config = {"method": "draft_model", "model": draft, "num_speculative_tokens": length}
    elif "ngram_size" in given:
        config = {"method": "ngram", "num_speculative_tokens": given.get("ngram_draft", length)}
        config["prompt_lookup_max"] = given["ngram_size"]
    words += ["--speculative-config", json.dumps(config)] if config else []
    words += export.flags(VLLM)
    if sampling := export.under(VLLM_SAMPLING):
        words += ["--override-generation-config", json.dumps(sampling)]
    export.leave_out("vLLM", "draft_max", "ngram_size", "ngram_draft", *VLLM, *VLLM_SAMPLING)
    return words


FIREWORKS = {"draft_max": "--draft-token-count", "ngram_size": "--ngram-speculation-length"}


def _fireworks(export: Export) -> list[str]:
    place = "accounts/fireworks/models"
    words = ["firectl", "deployment", "create", f"{place}/TARGET"]
    count = [FIREWORKS["draft_max"], str(export.length("Fireworks"))]
    if export.draft is not None:
        words += ["--draft-model", f"{place}/DRAFT", *count]
    elif "ngram_size" in export.given:
        words += [FIREWORKS["ngram_size"], str(export.given["ngram_size"]), *count]
    names = " and ".join(str(one) for one in (export.target, export.draft) if one)
    export.notes.append(f"Fireworks runs no GGUF files: put its own names for {names}")
    export.leave_out("a deployment", *FIREWORKS)
    return words


_LM_STUDIO = {
    "temp": "temperature",
    "top_k": "topKSampling",
    "top_p": "topPSampling",
    "min_p": "minPSampling",
    "repeat_penalty": "repeatPenalty",
    "predict": "maxTokens",
    "stop": "stopStrings",
}


def _lm_studio(export: Export) -> str:
    words = ["lms", "load", export.model(export.target, lambda one: one.repo)]
    words += export.flags({"ctx_size": "--context-length"})
    config = export.under(_LM_STUDIO)
    if export.draft is not None:
        config["draftModel"] = export.model(export.draft, lambda one: one.repo)
    export.notes.append("the second line is the config of a request, as LM Studio's SDK has it")
    export.leave_out("LM Studio", "ctx_size", *_LM_STUDIO)
    return f"{shlex.join(words)}\n{json.dumps(config)}"


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


def _ollama(export: Export) -> str:
    given = export.given
    lines = [f"FROM {export.model(export.target, lambda one: f'hf.co/{export.tagged(one)}')}"]
    known = [name for name in _OLLAMA if given.get(name) not in (None, AUTO, "all")]
    for name in known:
        values = given[name] if isinstance(given[name], tuple) else [given[name]]
        lines += [f"PARAMETER {_OLLAMA[name]} {_quoted(one)}" for one in values]
    if given.get("system"):
        lines.append(f'SYSTEM """{given["system"]}"""')
    if export.draft is not None:
        export.notes.append(f"a Modelfile names no draft model: {export.draft} is left out")
    export.leave_out("a Modelfile", *known, "system")
    return "\n".join(lines)


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


_QUANT = re.compile(r"[-.]((?:UD-)?(?:I?Q\d\w*|BF16|F16|F32))(?:-\d+-of-\d+)?\.gguf$", re.I)

TOOLS: Mapping[str, Callable[[Export], list[str] | str]] = {
    "llama-server": _llama_server,
    "vllm": _vllm,
    "fireworks": _fireworks,
    "lm-studio": _lm_studio,
    "ollama": _ollama,
}


def _hub(model: ModelName) -> HubReference | None:
    return parse_hub(model) if isinstance(model, str) else None
