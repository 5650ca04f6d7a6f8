"""A conversation with loaded models: only what is new in a turn is decoded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from specli.app.feedback import Feedback
from specli.app.follow import View, follow
from specli.app.prepare import Plan, loaded_session, planned, require_known_tokens
from specli.engine.sequence import UNLIMITED, Limits
from specli.errors import UsageError
from specli.events import Stats
from specli.files import read_text, write_text
from specli.generation import Generation
from specli.llama.chat import Message, prompt_text, tokens_of, with_system
from specli.llama.constraint import State, rules_of
from specli.llama.model import Model
from specli.llama.reasoning import parted
from specli.option_table import AUTO
from specli.options import Options
from specli.session import Session

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Answered:
    """A turn that is over; `interrupted` where Ctrl-C ended it with what there was."""

    generation: Generation
    interrupted: bool

    @property
    def stats(self) -> Stats:
        return self.generation.stats


@dataclass(slots=True)
class _Known:
    """What the cache holds of the conversation: a text, and the tokens that it was decoded as."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)

    def continued(self, model: Model, text: str) -> list[int]:
        """Tokens of `text`; what is known keeps its tokens, since an answer need not be tokenised
        as the model wrote it."""
        if not self.text or not text.startswith(self.text):
            return tokens_of(model, text)
        return self.tokens + model.vocab.tokenize(text[len(self.text) :], add_special=False)


class Conversation:
    """Messages and their answers on one engine. Not safe for several threads."""

    def __init__(self, session: Session, plan: Plan) -> None:
        """Raises UsageError for a grammar or a schema that cannot be used."""
        require_known_tokens(plan.sampling, session.target_model)
        self.messages: list[Message] = []
        self.speculate = True
        self.limits: Limits = UNLIMITED
        self._session = session
        self._engine = session.engine()
        self._plan = plan
        self._rules = rules_of(*plan.constraint)
        self._known = _Known()
        self.reset(plan.options.system or "")

    @property
    def system(self) -> str:
        """The system message; empty without one."""
        first = self.messages[:1]
        return first[0].content if first and first[0].role == "system" else ""

    def reset(self, system: str | None = None) -> None:
        """Begin anew, with another system message where one is given."""
        kept = self.system if system is None else system
        self.messages = with_system(kept, [])

    def draft(self, how: str) -> None:
        """`off`, `auto`, or the most tokens that are drafted in a round. Raises UsageError."""
        if how.isdecimal() and len(how) < 5:
            self.speculate, self.limits = int(how) > 0, Limits(most=int(how))
        elif how in ("off", AUTO):
            self.speculate, self.limits = how == AUTO, UNLIMITED
        else:
            raise UsageError(f"{how!r} is no draft length", hint="off, auto, or a number")

    def say(self, text: str, view: View) -> Answered:
        """Answer a message. Where it cannot be answered, it is not kept.

        Raises PromptTooLongError where the conversation fills the context, and what `decode` does.
        """
        self.messages.append(Message("user", text))
        return self._answer(view)

    def retry(self, view: View) -> Answered:
        """Answer the last message again, with another seed. Raises UsageError without one."""
        if self.messages and self.messages[-1].role == "assistant":
            self.messages.pop()
        if not self.messages or self.messages[-1].role != "user":
            raise UsageError("there is no message to answer again", hint="write one first")
        sampling = self._plan.sampling
        self._plan = replace(self._plan, sampling=replace(sampling, seed=sampling.seed + 1))
        return self._answer(view)

    def _answer(self, view: View) -> Answered:
        model = self._session.target_model
        grammar: State | None = None
        try:
            text = prompt_text(model, self.messages)
            prompt = self._known.continued(model, text)
            grammar = None if self._rules is None else self._rules.begin(model.vocab)
            request = self._plan.request(
                prompt, grammar, speculate=self.speculate, limits=self.limits
            )
            generation, interrupted = follow(self._session, request, view, self._engine)
        except BaseException:
            self.messages.pop()
            raise
        finally:
            if grammar is not None:
                grammar.close()
        self._remember(text, prompt, generation)
        if generation.error is not None:
            self.messages.pop()
            raise generation.error
        return Answered(generation, interrupted)

    def _remember(self, text: str, prompt: list[int], generation: Generation) -> None:
        vocab = self._session.target_model.vocab
        answer = [token for token in generation.tokens if not vocab.is_end(token)]
        self.messages.append(self._message(text, generation.text))
        if vocab.detokenize(answer) == generation.text:
            self._known = _Known(text + generation.text, prompt + answer)
        else:
            # A stop string was cut off, or the text ends inside a character.
            self._known = _Known(text, prompt)

    def _message(self, prompt: str, text: str) -> Message:
        """An answer as the template is to have it from now on."""
        if self._plan.options.reasoning_format in (None, "none"):
            return Message("assistant", text)
        reasoning, answer = parted(text, prompt)
        more = {} if reasoning is None else {"reasoning_content": reasoning}
        return Message("assistant", answer, more)

    def save(self, path: Path) -> None:
        """Write the messages as JSON, in OpenAI's form. Raises SpecliError."""
        messages = [{"role": one.role, "content": one.content, **one.more} for one in self.messages]
        text = json.dumps({"messages": messages}, ensure_ascii=False, indent=1)
        write_text(path, text + "\n")

    def load(self, path: Path) -> None:
        """Go on from messages that were saved. Raises UsageError; nothing is changed then."""
        try:
            given = json.loads(read_text(path))
            found = [_read(one) for one in given["messages"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            found = []
        if not found or any(
            one.role not in ROLES or not isinstance(one.content, str) for one in found
        ):
            raise UsageError(f"{path} holds no conversation", hint="/save writes one")
        self.messages = found


def _read(given: dict[str, Any]) -> Message:
    more = {name: given[name] for name in ("reasoning_content",) if name in given}
    return Message(given["role"], given["content"], more)


@contextmanager
def conversation(options: Options, feedback: Feedback) -> Iterator[Conversation]:
    """A conversation on models that are loaded while the context lasts. Raises as `run`."""
    plan = planned(options, feedback)
    with loaded_session(plan.setup, feedback) as session:
        if session.target_model.chat_template is None:
            feedback.note("the model has no chat template: it continues the messages as plain text")
        yield Conversation(session, plan)
