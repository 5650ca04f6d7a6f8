"""Speculative decoding for GGUF models over llama.cpp.

    from specli import LLM, SamplingParams

    with LLM(model="target.gguf", speculative_model="draft.gguf") as llm:
        for output in llm.generate(["The sky is"], SamplingParams(max_tokens=40)):
            print(output.outputs[0].text, output.metrics.draft_acceptance_rate)

Names are imported on first use, so that `import specli` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specli.api.llm import LLM
    from specli.api.outputs import CompletionOutput, DrafterMetrics, RequestMetrics, RequestOutput
    from specli.api.sampling import SamplingParams
    from specli.errors import (
        ClosedError,
        DecodeError,
        FetchError,
        LoadError,
        MemoryShortError,
        ModelFileError,
        PairIncompatibleError,
        PromptTooLongError,
        SpecliError,
        UsageError,
    )
    from specli.events import Piece
    from specli.speculative import SpeculativeConfig

__version__ = "0.3.0"

__all__ = [
    "LLM",
    "ClosedError",
    "CompletionOutput",
    "DecodeError",
    "DrafterMetrics",
    "FetchError",
    "LoadError",
    "MemoryShortError",
    "ModelFileError",
    "PairIncompatibleError",
    "Piece",
    "PromptTooLongError",
    "RequestMetrics",
    "RequestOutput",
    "SamplingParams",
    "SpecliError",
    "SpeculativeConfig",
    "UsageError",
    "__version__",
]

_HOMES = {
    "LLM": "specli.api.llm",
    "CompletionOutput": "specli.api.outputs",
    "DrafterMetrics": "specli.api.outputs",
    "RequestMetrics": "specli.api.outputs",
    "RequestOutput": "specli.api.outputs",
    "SamplingParams": "specli.api.sampling",
    "Piece": "specli.events",
    "SpeculativeConfig": "specli.speculative",
}
"""The module of each name that is not an error."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'specli' has no attribute {name!r}")
    found = getattr(import_module(_HOMES.get(name, "specli.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
