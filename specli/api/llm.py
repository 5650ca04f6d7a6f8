"""`LLM`: models loaded once, and texts generated with them."""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from specli.api.outputs import CompletionOutput, RequestOutput, metrics_of
from specli.api.requests import (
    Chat,
    Conversation,
    Prompt,
    Request,
    chats_of,
    prompt_or_chat,
    prompts_of,
)
from specli.api.sampling import SamplingParams
from specli.api.scheduler import Call
from specli.api.setup import Drafting, older_form, options_of
from specli.api.thread import EngineThread
from specli.app.feedback import Feedback
from specli.app.prepare import loaded_session, prepared_setup
from specli.closing import Closing
from specli.errors import UsageError
from specli.events import Event, Finished, Piece, Prefilled
from specli.generation import Generation
from specli.llama.chat import with_system
from specli.options import Options
from specli.profiles import Profile
from specli.session import Session
from specli.speculative import SpeculativeConfig

_log = logging.getLogger("specli")

Params = SamplingParams | Sequence[SamplingParams] | None


class LLM(Closing):
    """A target and its drafters, loaded once. Use it as a context manager, or call `close`.

    Any number of threads may call its methods at once: their requests share one engine, which
    runs in a thread of its own and answers up to `max_num_seqs` of them side by side. Signal
    handlers, garbage collection, logging and stdout are the host's: notes go to the logger
    "specli" at level INFO, and nothing is printed.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        profile: str | None = None,
        speculative_config: Drafting = None,
        speculative_model: str | Path | None = None,
        num_speculative_tokens: int | None = None,
        max_model_len: int | None = None,
        max_num_seqs: int | None = None,
        n_gpu_layers: int | None = None,
        threads: int | None = None,
        exact: bool = False,
        seed: int | None = None,
    ) -> None:
        """Fetch the models where they are not on this machine yet, and load them.

        `model` is what `specli run -m` takes: a GGUF file or a reference to one. Without it the
        target is that of `profile` (a name or a file), and without either the embedded pair's.

        `speculative_config` is vLLM's dictionary (keys `method`, `model`,
        `num_speculative_tokens`, `prompt_lookup_max`, `prompt_lookup_min`), or a
        `SpeculativeConfig`; `SpeculativeConfig()` is plain decoding. None lets measured costs
        decide between plain decoding, suffix drafting and the profile's draft model.
        `speculative_model` and `num_speculative_tokens` are vLLM's older form of the same; one of
        them without a number of tokens lets costs decide the lengths.

        `max_model_len` is the context of each sequence in tokens (0: the model's own; None: that,
        but at most 4096), `max_num_seqs` how many run side by side (None: as many as memory holds
        and as pay here, at most 16), `n_gpu_layers` the target's layers on a GPU (None: all where
        there is one), `threads` the CPU threads (None: one per physical core). `seed` is for
        requests whose parameters have none. With `exact` no text depends on drafters, lengths or
        what runs beside it, to the bit, and all of it is slower.

        Raises UsageError for arguments that fit nothing, ModelFileError, FetchError, LoadError,
        MemoryShortError, and PairIncompatibleError where the vocabularies differ and must not.
        """
        _require("max_model_len", max_model_len, 0)
        _require("max_num_seqs", max_num_seqs, 1)
        _require("threads", threads, 1)
        draft = None if speculative_model is None else str(speculative_model)
        drafting = older_form(speculative_config, draft, num_speculative_tokens)
        named = Options(
            model=None if model is None else str(model),
            profile=profile,
            ctx_size=max_model_len,
            gpu_layers=n_gpu_layers,
            threads=threads,
            exact=exact or None,
        )
        options, chosen = options_of(named, drafting)
        config = drafting if isinstance(drafting, SpeculativeConfig) else None
        self._params = SamplingParams.of_options(options)
        self._system: str = options.system or ""
        self._seed = seed
        self._ids = itertools.count()
        self._thread = EngineThread(partial(_loaded, options, chosen, config, max_num_seqs))
        # Also frees the models of an LLM that is never closed: when it is collected, or at exit.
        self._close = weakref.finalize(self, self._thread.close)

    def generate(
        self, prompts: Prompt | Sequence[Prompt], sampling_params: Params = None
    ) -> list[RequestOutput]:
        """Continue one prompt or several; results are in the order of the prompts.

        A prompt is a text, to which no chat template is applied, or a list of token ids.
        `sampling_params` are for all prompts, or one for each; None takes the profile's, which
        are greedy where it has none.

        Raises UsageError for prompts that are of neither kind or empty, PromptTooLongError where
        one does not fit into the context (nothing is generated then), DecodeError where llama.cpp
        fails, and ClosedError where the LLM is closed before all are finished.
        """
        return self._finished(self._requests(prompts_of(prompts), sampling_params))

    def chat(
        self, messages: Conversation | Sequence[Conversation], sampling_params: Params = None
    ) -> list[RequestOutput]:
        """Answer one conversation or several; results are in the order of the conversations.

        A conversation is a list of `{"role": …, "content": …}`, texts both, to which the model's
        chat template is applied. Everything else as in `generate`. Raises UsageError also for
        messages that the template refuses.
        """
        return self._finished(self._requests(chats_of(messages), sampling_params))

    def stream(
        self, prompt: Prompt | Conversation, sampling_params: SamplingParams | None = None
    ) -> Generator[Piece, None, RequestOutput]:
        """Yield the text of one request in pieces, as soon as they are there.

        `prompt` is a text or token ids as in `generate`, or a conversation as in `chat`. Each
        piece has its `text` and its `source`: "target", or the name of the drafter that proposed
        it. The generator returns the RequestOutput (`output = yield from llm.stream(…)`).

        Nothing happens before the first piece is asked for. Closing the generator, or leaving a
        loop over it and dropping it, ends the request and frees its slot. Raises as `generate`.
        """
        call = Call(self._requests([prompt_or_chat(prompt)], sampling_params))
        generation = Generation()
        with closing(self._events(call)) as events:
            for _index, event in events:
                generation.add(event)
                if not isinstance(event, Prefilled):
                    yield from event.pieces
        return self._output(call, 0, generation)

    def close(self) -> None:
        """Free the models. Calls of other threads that are not finished raise ClosedError.

        Closing again does nothing.
        """
        self._close()

    def _requests(
        self, prompts: Sequence[str | list[int] | Chat], sampling_params: Params
    ) -> list[Request]:
        if sampling_params is None or isinstance(sampling_params, SamplingParams):
            every = [sampling_params or self._params] * len(prompts)
        else:
            every = list(sampling_params)
        if len(every) != len(prompts):
            raise UsageError(
                f"there are {len(prompts)} prompts and {len(every)} sampling parameters",
                hint="give one SamplingParams for all, or one for each prompt",
            )
        return [
            Request(self._with_system(prompt), params, params.chosen_seed(self._seed))
            for prompt, params in zip(prompts, every, strict=True)
        ]

    def _with_system(self, prompt: str | list[int] | Chat) -> str | list[int] | Chat:
        """A conversation without a system message gets the profile's."""
        if not isinstance(prompt, Chat):
            return prompt
        return Chat(with_system(self._system, prompt.messages))

    def _finished(self, requests: list[Request]) -> list[RequestOutput]:
        call = Call(requests)
        generations = [Generation() for _request in requests]
        with closing(self._events(call)) as events:
            for index, event in events:
                generations[index].add(event)
        return [self._output(call, index, one) for index, one in enumerate(generations)]

    def _events(self, call: Call) -> Generator[tuple[int, Event], None, None]:
        """What happens to a call until all of it is finished; closing it early cancels the rest."""
        self._thread.submit(call)
        left = len(call.requests)
        try:
            while left:
                item = call.events.get()
                if isinstance(item, BaseException):
                    raise item
                left -= isinstance(item[1], Finished)
                yield item
        finally:
            if left:
                self._thread.cancel(call)

    def _output(self, call: Call, index: int, generation: Generation) -> RequestOutput:
        prompt = call.prompts[index]
        first = None if generation.first_at is None else generation.first_at - call.since
        completion = CompletionOutput(0, generation.text, generation.tokens, generation.finish)
        return RequestOutput(
            request_id=str(next(self._ids)),
            prompt=prompt.text,
            prompt_token_ids=prompt.tokens,
            outputs=[completion],
            metrics=metrics_of(generation.stats, first),
            seed=call.requests[index].seed,
        )


def _loaded(
    options: Options, profile: Profile | None, config: SpeculativeConfig | None, slots: int | None
) -> Session:
    feedback = Feedback(_log.info)
    setup = prepared_setup(options, profile, feedback, slots=slots, config=config)
    return loaded_session(setup, feedback)


def _require(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise UsageError(f"{name} is {value}, but must be {least} or more")
