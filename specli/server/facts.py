"""Facts of the server, and the tokenizer: llama-server's own paths, and `GET /v1/models`."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

import specli
from specli.server.asking import chat_text
from specli.server.context import Context
from specli.server.errors import RequestError, require_unicode, wrong
from specli.server.fields import ApplyTemplate, Detokenize, Tokenize
from specli.server.tools.prompt import plain_tools

LLAMA = "llama-server"


def routes(context: Context) -> APIRouter:
    """The paths of this module."""
    router = APIRouter()
    _state(router, context)
    _models(router, context)
    _tokens(router, context)
    return router


def _state(router: APIRouter, context: Context) -> None:
    service, served = context.service, context.served

    @router.get("/health", response_model=None, tags=[LLAMA])
    @router.get("/v1/health", response_model=None, include_in_schema=False)
    async def health() -> Response:
        """Whether requests are taken."""
        if service.closing:
            raise RequestError(503, "the server is shutting down", "unavailable_error")
        return JSONResponse({"status": "ok"})

    @router.get("/metrics", response_model=None, tags=[LLAMA])
    async def metrics() -> Response:
        """Figures in Prometheus' text format."""
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @router.get("/slots", tags=[LLAMA])
    async def slots() -> list[dict[str, Any]]:
        """What each slot does. Texts are not shown."""
        busy = service.busy()
        return [_slot(context, slot, busy.get(slot)) for slot in range(service.slots)]

    @router.get("/props", tags=[LLAMA])
    async def props() -> dict[str, Any]:
        """What is loaded, and the parameters of requests that name none."""
        defaults = served.defaults
        return {
            "default_generation_settings": {
                "n_ctx": served.n_ctx,
                "params": {
                    "temperature": defaults.temperature,
                    "top_k": defaults.top_k,
                    "top_p": defaults.top_p,
                    "min_p": defaults.min_p,
                    "repeat_penalty": defaults.repetition_penalty,
                    "presence_penalty": defaults.presence_penalty,
                    "frequency_penalty": defaults.frequency_penalty,
                    "n_predict": -1 if defaults.max_tokens is None else defaults.max_tokens,
                    "seed": -1 if defaults.seed is None else defaults.seed,
                },
            },
            "total_slots": service.slots,
            "model_alias": served.name,
            "model_path": served.model.path.name,
            "chat_template": served.model.chat_template or "",
            "modalities": {"vision": False, "audio": False},
            "build_info": f"specli {specli.__version__}",
            "drafters": [one.name for one in served.drafters],
        }


def _slot(context: Context, slot: int, work: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": slot,
        "n_ctx": context.served.n_ctx,
        "speculative": bool(context.served.drafters),
        "is_processing": work is not None,
    }
    if work is None:
        return told
    answer, index = work
    stats = answer.generations[index].stats
    told["n_prompt_tokens"] = len(answer.prompts[index].tokens)
    told["next_token"] = [{"n_decoded": stats.predicted_n}]
    told["timings"] = stats.timings()
    return told


def _models(router: APIRouter, context: Context) -> None:
    served = context.served
    since = int(time.time())

    def model() -> dict[str, Any]:
        return {
            "id": served.name,
            "object": "model",
            "created": since,
            "owned_by": "specli",
            "max_model_len": served.n_ctx,
            "meta": {
                "n_vocab": served.model.vocab.size,
                "n_ctx_train": served.model.context_length,
                "n_params": served.model.parameters,
                "size": served.model.size,
            },
        }

    @router.get("/v1/models", tags=["OpenAI"])
    async def models() -> dict[str, Any]:
        """The model that is served."""
        return {"object": "list", "data": [model()]}

    @router.get("/v1/models/{name:path}", tags=["OpenAI"])
    async def one_model(name: str) -> dict[str, Any]:
        """The model, by its name."""
        if name != served.name:
            raise RequestError(404, "no such model", param="model", code="model_not_found")
        return model()


def _tokens(router: APIRouter, context: Context) -> None:
    served = context.served
    vocab = served.model.vocab

    @router.post("/tokenize", tags=[LLAMA])
    def tokenize(body: Tokenize) -> dict[str, Any]:
        """The tokens of a text."""
        require_unicode(body.content, "content")
        tokens = vocab.tokenize(
            body.content, add_special=body.add_special, parse_special=body.parse_special
        )
        if not body.with_pieces:
            return {"tokens": tokens}
        return {"tokens": [{"id": token, "piece": _piece(vocab.piece(token))} for token in tokens]}

    @router.post("/detokenize", tags=[LLAMA])
    def detokenize(body: Detokenize) -> dict[str, Any]:
        """The text of tokens."""
        if any(not 0 <= token < vocab.size for token in body.tokens):
            raise wrong("tokens", f"ids go from 0 to {vocab.size - 1}")
        return {"content": vocab.detokenize(body.tokens)}

    @router.post("/apply-template", tags=[LLAMA])
    def apply_template(body: ApplyTemplate) -> dict[str, Any]:
        """A conversation as the model reads it."""
        return {"prompt": chat_text(served, body.messages, plain_tools(body.tools or []))}


def _piece(data: bytes) -> str | list[int]:
    """As llama-server: text, or bytes where it is no text by itself."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
