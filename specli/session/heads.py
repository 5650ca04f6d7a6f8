"""From a head's file to a drafter: tried, loaded, and opened with the target."""

from __future__ import annotations

from pathlib import Path

from specli.drafters.heads.build import HeadSource, build_head
from specli.drafters.heads.core import Kind
from specli.drafters.heads.trial import require_usable
from specli.gguf.heads import MTP
from specli.hub.progress import Progress, ProgressSink, ignore
from specli.llama.context import Context
from specli.llama.model import Model, ModelOptions
from specli.llama.opening import ContextOptions
from specli.session.loading import Checked, threads_of
from specli.speculative import Head


def load_head(head: Head, target: Path, records: Path, report: ProgressSink = ignore) -> Model:
    """Load a head, tried with its target in a child process before.

    Raises ModelFileError, LoadError and MemoryShortError.
    """
    path, placement = Path(str(head.model)), head.placement
    report(Progress("check", path.name, 0, None))
    repacked = require_usable(path, target, records)
    options = ModelOptions(
        gpu_layers=placement.gpu_layers,
        devices=list(placement.devices),
        repacked=repacked,
        mtp=head.kind == MTP,
    )
    return Model(path, options)


def require_own_head(target: Path, records: Path, report: ProgressSink = ignore) -> None:
    """Try the MTP layers in a target's own file in a child process. Raises ModelFileError."""
    report(Progress("check", target.name, 0, None))
    require_usable(target, target, records)


def open_head(head: Head, model: Model, target: Context, checked: Checked, slots: int) -> Kind:
    """A head with a context for `slots` sequences, which the caller closes.

    Raises PairIncompatibleError, LoadError and MemoryShortError.
    """
    placement = head.placement
    options = ContextOptions(
        n_ctx=checked.n_ctx,
        n_seq=slots,
        threads=threads_of(placement),
        type_k=placement.type_k,
        type_v=placement.type_v,
        flash_attention=checked.setup.flash_attention,
    )
    return build_head(head.kind, HeadSource(model, target, options))
