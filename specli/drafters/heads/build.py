"""From a loaded head to a drafter of its kind, with every check that llama.cpp would abort on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from specli.drafters.heads.core import Kind
from specli.drafters.heads.dflash import Block, BlockHead
from specli.drafters.heads.eagle3 import Eagle3
from specli.drafters.heads.mtp import ChainedMtp, Mtp, SharedMtp
from specli.errors import LoadError, PairIncompatibleError
from specli.gguf.header import read_header
from specli.gguf.heads import (
    ASSISTANT,
    CONFIDENCE,
    DEFAULT_BLOCK,
    DFLASH,
    DSPARK,
    EAGLE3,
    MTP,
    ONE_MTP_HEAD,
    SEVERAL_MTP_HEADS,
)
from specli.llama import features, staging
from specli.llama.context import Context
from specli.llama.head import HeadContext, target_layers
from specli.llama.model import Model
from specli.llama.opening import ContextOptions


@dataclass(frozen=True, slots=True)
class HeadSource:
    """A head's weights, the context of the target it drafts for, and how to open its own."""

    model: Model
    target: Context
    options: ContextOptions

    def context(self, width: int, *, mtp: bool = False, causal: bool = True) -> HeadContext:
        options = replace(self.options, target=self.target, mtp=mtp)
        return HeadContext(self.model, options, width, causal=causal)

    def require_width(self, size: int) -> None:
        """Raises PairIncompatibleError where the target's hidden states have another size."""
        width = self.target.model.hidden_size
        if size != width:
            raise PairIncompatibleError(
                f"{self.model.path} was made for a hidden size of {size}; the target has {width}",
                hint="use the head that was trained for this very target",
            )


def _eagle3(source: HeadSource) -> Kind:
    target = source.target.model
    size = source.model.integer("eagle3.target_hidden_size")
    source.require_width(size)
    # llama.cpp takes the target's last hidden states for the output of its last layer.
    layers = [
        features.NEXTN if layer == target.layers else layer for layer in target_layers(source.model)
    ]
    features.require(layers, target.architecture, target.layers)
    return Eagle3(source.context(source.model.hidden_size), layers, size)


def _block_head(source: HeadSource, kind: str) -> Kind:
    head, target = source.model, source.target.model
    source.require_width(head.hidden_size)
    staging.require("drafting with DFlash", staging.selector_top_k)
    if staging.selector_top_k(head.handle):
        raise LoadError(f"{head.path} is a DFlash2 head, whose selector specli does not have")
    layers = target_layers(head)
    features.require(layers, target.architecture, target.layers)
    dspark = kind == DSPARK
    block = Block(
        size=head.integer("dflash.block_size", DEFAULT_BLOCK),
        mask=head.vocab.mask,
        from_anchor=dspark and head.text("dflash.sample_from_anchor") != "false",
        confidence=dspark and CONFIDENCE in read_header(head.path).tensors,
    )
    if block.most < 1 or not 0 <= block.mask < head.vocab.size:
        raise LoadError(f"{head.path} has no block to draft, or no mask token")
    options, width = source.options, head.hidden_size * len(layers)
    room = options.n_seq * block.size
    options = replace(
        options,
        n_ctx=options.n_ctx + block.size,
        n_batch=max(options.n_batch, room),
        n_ubatch=max(options.n_ubatch, room),
    )
    causal = head.text("dflash.attention.causal") == "true"
    context = replace(source, options=options).context(width, causal=causal)
    name = kind.removeprefix("draft-")
    return BlockHead(name, context, layers, target.hidden_size, block)


def _mtp(source: HeadSource) -> Kind:
    """MTP layers: those of the target itself, where the source's model is the target's."""
    model, target = source.model, source.target.model
    architecture, layers = model.architecture, model.mtp_layers
    several = architecture in SEVERAL_MTP_HEADS
    if not layers or (architecture in ONE_MTP_HEAD and layers > 1):
        raise LoadError(f"{model.path} has {layers} MTP layers, with which llama.cpp cannot draft")
    if not several and architecture not in (*ONE_MTP_HEAD, ASSISTANT):
        raise LoadError(f"llama.cpp cannot run the MTP layers of {architecture!r}")
    features.require([features.NEXTN], target.architecture, target.layers)
    source.require_width(model.state_size)
    context = source.context(model.state_size, mtp=True)
    if architecture == ASSISTANT:
        return SharedMtp(context)
    return ChainedMtp(context, layers) if several and layers > 1 else Mtp(context)


BUILDERS: Mapping[str, Callable[[HeadSource], Kind]] = {
    EAGLE3: _eagle3,
    DFLASH: lambda source: _block_head(source, DFLASH),
    DSPARK: lambda source: _block_head(source, DSPARK),
    MTP: _mtp,
}


def build_head(kind: str, source: HeadSource) -> Kind:
    """A head ready to draft; its `decoder` is a new context that the caller closes.

    Raises PairIncompatibleError where it was made for another target, and LoadError where the
    target or this build of llama.cpp does not give what it needs.
    """
    return BUILDERS[kind](source)
