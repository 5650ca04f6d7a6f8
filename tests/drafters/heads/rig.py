"""A tiny target with a head, and engines on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from specli.drafters.heads.build import HeadSource, build_head
from specli.drafters.heads.core import HeadDrafter, Kind
from specli.drafters.ngram import NgramDrafter
from specli.drafters.protocol import Drafter
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.policy.protocol import Policy
from specli.engine.sequence import GenerationRequest
from specli.events import Finished, Round
from specli.gguf.check import check_file
from specli.gguf.heads import MTP, head_kind
from specli.llama.context import Context
from specli.llama.model import Model, ModelOptions
from specli.llama.opening import ContextOptions
from tests.tiny_heads import Tiny

OPTIONS = ContextOptions(
    n_ctx=512, n_seq=8, n_batch=128, n_ubatch=128, threads=1, flash_attention="off"
)


NEAR_TIE = 0.001
"""Logits of these models are some units apart; the rounding of F32 moves them by some 1e-4."""


@dataclass
class Rig:
    target: Context
    head_model: Model
    kind_name: str
    kind: Kind
    stack: ExitStack
    options: ContextOptions

    def drafter(self) -> HeadDrafter:
        return HeadDrafter(self.kind)

    def another(self) -> tuple[Context, Kind]:
        """The same target and head once more, with empty caches."""
        options = replace(self.options, n_seq=1)
        target = self.stack.enter_context(Context(self.target.model, options))
        kind = build_head(self.kind_name, HeadSource(self.head_model, target, OPTIONS))
        self.stack.callback(kind.decoder.close)
        target.want_features(kind.features)
        return target, kind

    def engine(
        self,
        policy: Policy | None = None,
        *,
        slots: int = 1,
        drafters: Sequence[Drafter] | None = None,
        cached: dict[int, list[int]] | None = None,
    ) -> Engine:
        drafters = [NgramDrafter(3, 6), self.drafter()] if drafters is None else drafters
        if cached is None:
            for slot in range(slots):
                self.target.rollback(slot, 0)
        return Engine(
            self.target,
            self.target.model.vocab,
            drafters,
            policy or FixedPolicy(4),
            slots=slots,
            prefill_chunk=48,
            cached=cached,
        )

    def texts(self, requests: Sequence[GenerationRequest], engine: Engine) -> list[list[int]]:
        """The tokens of each request; all of them have to end without an error."""
        ids = [engine.submit(request) for request in requests]
        found: dict[int, list[int]] = {one: [] for one in ids}
        for event in engine.run():
            if isinstance(event, Round):
                found[event.seq] += event.tokens
            elif isinstance(event, Finished):
                assert event.reason in ("stop", "length"), event.error
        return [found[one] for one in ids]

    def require_plain(self, request: GenerationRequest, text: Sequence[int]) -> None:
        """Fail where `text` is not how plain decoding begins, but for a near tie, which another
        order of the cache's cells may decide."""
        engine = self.engine(FixedPolicy(0), drafters=[])
        engine.submit(replace(request, margins=True))
        rounds = [event for event in engine.run() if isinstance(event, Round)]
        plain = [token for one in rounds for token in one.tokens][: len(text)]
        if list(text) != plain:
            place = next(n for n, (a, b) in enumerate(zip(text, plain, strict=True)) if a != b)
            margins = [margin for one in rounds for margin in one.margins or []]
            assert margins[place] < NEAR_TIE, f"another text from token {place} on"

    def require_plain_texts(self, requests: Sequence[GenerationRequest], slots: int) -> None:
        """`require_plain` for texts that are drafted side by side."""
        texts = self.texts(requests, self.engine(slots=slots))
        for request, text, plain in zip(requests, texts, self.plain(requests, slots), strict=True):
            if text != plain:
                self.require_plain(request, text)

    def plain(self, requests: Sequence[GenerationRequest], slots: int = 1) -> list[list[int]]:
        return self.texts(requests, self.engine(FixedPolicy(0), slots=slots, drafters=[]))


@contextmanager
def rigged(
    folder: Path, target: Tiny, head: Tiny | None, sequences: int = OPTIONS.n_seq
) -> Iterator[Rig]:
    """Load both; without a head the target's own MTP layers draft. Raises as `build_head`."""
    options = replace(OPTIONS, n_seq=sequences)
    files = folder / "target.gguf", folder / "head.gguf"
    files[0].write_bytes(target.bytes())
    with ExitStack() as stack:
        loaded = stack.enter_context(Model(files[0], ModelOptions(mtp=True)))
        context = stack.enter_context(Context(loaded, replace(options, snapshots=16)))
        model, name = loaded, MTP
        if head is not None:
            files[1].write_bytes(head.bytes())
            model = stack.enter_context(Model(files[1], ModelOptions(mtp=True)))
            name = head_kind(check_file(files[1])) or "none"
        kind = build_head(name, HeadSource(model, context, options))
        stack.callback(kind.decoder.close)
        yield Rig(context, model, name, kind, stack, options)
