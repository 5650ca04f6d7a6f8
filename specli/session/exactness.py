"""Which batch sizes `--exact` may use here: from the record of an earlier run, or found now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from specli.errors import UsageError
from specli.llama import library
from specli.llama.exact import ExactContext, Rows, find_rows
from specli.session.records import read_record, record_path, write_record
from specli.session.setup import Setup

_VERSION = 2


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    version: int
    least: int
    most: int
    price: float


def make_exact(
    context: ExactContext,
    setup: Setup,
    records: Path,
    notice: Callable[[str], None],
    *,
    tiled: bool,
) -> Rows:
    """Have an empty context decode in sizes that give the same bits; `tiled` says whether this
    process has llama.cpp's tiled kernels.

    Raises UsageError where there are none here.
    """
    here = [
        library.build_id(),
        setup.flash_attention,
        repr(setup.target_placement),
        f"{context.threads} threads, tiled {tiled}, {context.n_seq} sequences of {context.n_ctx}",
        *library.gpus(),
    ]
    path = record_path(records, (setup.target,), here, kind="exact")
    rows = _load(path)
    if rows is None:
        rows = find_rows(context) or Rows(0, 0, 0.0)
        record = _Record(version=_VERSION, least=rows.least, most=rows.most, price=rows.price)
        write_record(path, record, "the batch sizes of `exact`", notice)
    if rows.least == 0:
        raise UsageError(
            "`exact` cannot be kept: with these weights llama.cpp computes a row to other bits in "
            "batches of two rows and of three on this machine",
            hint="other weights (F32, F16, Q8_0) or the CPU (`gpu_layers` 0) may have such batches",
        )
    context.use(rows)
    if rows.least > 1:
        notice(
            f"exact: batches of {rows.least} to {rows.most} rows, and one row costs "
            f"{rows.price:.2f} times as much"
        )
    return rows


def _load(path: Path) -> Rows | None:
    found = read_record(path, _Record)
    if found is None or found.version != _VERSION or not 0 <= found.least <= found.most:
        return None
    return Rows(found.least, found.most, found.price)
