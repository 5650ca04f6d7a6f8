"""`POST /v1/completions`"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from specli.events import Round, TokenLogprob
from specli.server.asking import ask_completion
from specli.server.choices import Choices
from specli.server.context import Context, Part, Texts
from specli.server.fields import Completion
from specli.server.figures import completion_logprobs, usage
from specli.server.tools.reader import Delta


def routes(context: Context) -> APIRouter:
    """The paths of this module."""
    router = APIRouter()

    @router.post("/v1/completions", response_model=None, tags=["OpenAI"])
    async def completions(body: Completion, request: Request) -> Response:
        """Continue one text or several; no chat template is applied."""
        return await context.answer(request, ask_completion, body, _CompletionAnswer(context, body))

    return router


class _CompletionAnswer(Choices[Completion]):
    """Answers in the form of text completions."""

    prefix = "cmpl"
    kind = chunk_kind = "text_completion"
    nothing: ClassVar[Mapping[str, Any]] = {"text": "", "logprobs": None}

    def __init__(self, context: Context, body: Completion) -> None:
        super().__init__(context, body)
        self._lengths: Counter[int] = Counter()
        """Characters that the tokens of each text have so far."""

    def content(self, texts: Texts, index: int, deltas: list[Delta]) -> Mapping[str, Any]:
        """The text."""
        logprobs = self._logprobs(texts.answer.generations[index].logprobs, 0)
        return {"text": "".join(delta.text for delta in deltas), "logprobs": logprobs}

    def usage(self, texts: Texts) -> dict[str, Any]:
        """Each prompt counts once, however many texts continue it."""
        answer = texts.answer
        different = answer.prompts[:: self.body.n or 1]
        return usage(sum(len(one.tokens) for one in different), answer.generations)

    def pieces(self, part: Part) -> Iterator[bytes]:
        """A piece of a text."""
        text = "".join(delta.text for delta in part.deltas)
        logprobs = None
        if isinstance(part.event, Round):
            logprobs = self._logprobs(part.event.logprobs or [], self._lengths[part.index])
            self._lengths[part.index] += sum(map(len, (logprobs or {}).get("tokens", ())))
        if text or logprobs:
            yield self.chunk(part.index, {"text": text, "logprobs": logprobs})

    def _logprobs(self, found: Sequence[TokenLogprob], offset: int) -> dict[str, Any] | None:
        if self.body.logprobs is None:
            return None
        return completion_logprobs(self.context.served.model.vocab, found, offset)
