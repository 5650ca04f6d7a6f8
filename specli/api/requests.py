"""Prompts and conversations as callers give them, and what the engine is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from specli.api.sampling import SamplingParams
from specli.engine.sequence import UNLIMITED, GenerationRequest, Limits
from specli.errors import UsageError
from specli.llama.chat import Message, prompt_text, tokens_of
from specli.llama.constraint import State, rules_of
from specli.llama.model import Model
from specli.sampling.chooser import GrammarState
from specli.sampling.triggered import Triggered

Prompt = str | Sequence[int]
"""Text that is tokenised without a chat template, or token ids."""

ChatMessage = Mapping[str, str]
"""`{"role": …, "content": …}`"""

Conversation = Sequence[ChatMessage]


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, for which the model's template writes the prompt."""

    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and how to go on with it."""

    prompt: str | list[int] | Chat
    params: SamplingParams
    seed: int
    prediction: tuple[int, ...] = ()
    speculate: bool = True
    limits: Limits = UNLIMITED
    top_logprobs: int | None = None
    spelled: frozenset[int] = frozenset()
    trigger: str | None = None
    """Text from which on the grammar holds, in the place of the beginning."""


@dataclass(frozen=True, slots=True)
class Tokenised:
    """A prompt in tokens, and the text that they were made from."""

    text: str | None
    tokens: list[int]


def prompts_of(prompts: Prompt | Sequence[Prompt]) -> list[str | list[int]]:
    """One prompt or several as a list. Raises UsageError for anything else."""
    if isinstance(prompts, str):
        return [prompts]
    if prompts and _are_ids(prompts):
        return [list(prompts)]
    return [_prompt(one) for one in prompts]


def _prompt(one: object) -> str | list[int]:
    if isinstance(one, str):
        return one
    if isinstance(one, Sequence) and _are_ids(one):
        return list(one)
    raise UsageError(
        f"a prompt is a text or a list of token ids, not {one!r:.80}",
        hint="chat() takes conversations",
    )


def _are_ids(value: Sequence[object]) -> TypeGuard[Sequence[int]]:
    return all(isinstance(item, int) and not isinstance(item, bool) for item in value)


def chats_of(messages: Conversation | Sequence[Conversation]) -> list[Chat]:
    """One conversation or several as a list. Raises UsageError as `_chat`."""
    one = bool(messages) and isinstance(messages[0], Mapping)
    return [_chat(each) for each in ([messages] if one else messages)]


def prompt_or_chat(prompt: Prompt | Conversation) -> str | list[int] | Chat:
    """One prompt, or one conversation. Raises UsageError for anything else."""
    if not isinstance(prompt, str) and prompt and isinstance(prompt[0], Mapping):
        return _chat(prompt)
    return _prompt(prompt)


def _chat(conversation: Sequence[object] | Mapping[str, str]) -> Chat:
    """Raises UsageError for a conversation that is empty or not text."""
    if not conversation:
        raise UsageError("the conversation is empty", hint="give at least one message")
    found = []
    for one in conversation:
        given = one if isinstance(one, Mapping) else {}
        role, content = given.get("role"), given.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise UsageError(
                f"a message has a role and a content, both texts, unlike {one!r:.80}",
                hint='write {"role": "user", "content": "…"}',
            )
        found.append(Message(role, content))
    return Chat(found)


def tokenised(model: Model, request: Request) -> Tokenised:
    """The prompt of a request in tokens.

    Raises UsageError for token ids that the model does not have, in the prompt and in
    `logit_bias`, and for messages that the chat template refuses.
    """
    _require_known(request.params.logit_bias, "logit_bias", model)
    prompt = request.prompt
    if isinstance(prompt, str):
        return Tokenised(prompt, model.vocab.tokenize(prompt, add_special=True))
    if isinstance(prompt, Chat):
        text = prompt_text(model, prompt.messages)
        return Tokenised(text, tokens_of(model, text))
    _require_known(prompt, "the prompt", model)
    return Tokenised(None, prompt)


def _require_known(ids: Sequence[int] | Mapping[int, float], where: str, model: Model) -> None:
    for token in ids:
        if not 0 <= token < model.vocab.size:
            raise UsageError(
                f"{where} names token {token}, but {model.path.name} has {model.vocab.size}",
                hint=f"ids go from 0 to {model.vocab.size - 1}",
            )


def grammar_of(model: Model, params: SamplingParams) -> State | None:
    """The grammar that the text follows, at its start; the caller closes it.

    Raises UsageError for a grammar or a schema that cannot be used.
    """
    rules = rules_of(params.grammar, params.schema_text)
    return None if rules is None else rules.begin(model.vocab)


def grammar_state(model: Model, request: Request, grammar: State | None) -> GrammarState | None:
    """The grammar as the sampler sees it."""
    if grammar is None or request.trigger is None:
        return grammar
    vocab, spelled = model.vocab, request.spelled
    return Triggered(
        grammar,
        request.trigger,
        lambda token: vocab.name(token).encode() if token in spelled else vocab.piece(token),
    )


def generation_request(
    request: Request, tokens: list[int], grammar: GrammarState | None = None
) -> GenerationRequest:
    """What the engine is asked for."""
    params = request.params
    return GenerationRequest(
        prompt=tokens,
        max_tokens=params.max_tokens,
        sampling=params.choice(request.seed),
        stops=params.stops,
        ignore_end=params.ignore_eos,
        grammar=grammar,
        exact=bool(params.exact),
        prediction=request.prediction,
        speculate=request.speculate,
        limits=request.limits,
        top_logprobs=request.top_logprobs,
        spelled=request.spelled,
    )
