"""The child process in which a head is tried with its target; see specli.llama.probe.

python -m specli.drafters.heads.trial HEAD TARGET [plain]
"""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from specli.drafters.heads.build import HeadSource, build_head
from specli.drafters.heads.core import HeadDrafter
from specli.drafters.protocol import Decoded, Request, TargetBatch
from specli.drafters.rule import Rule
from specli.errors import ModelFileError, SpecliError
from specli.gguf.check import check_file
from specli.gguf.heads import MTP, head_kind
from specli.llama import library
from specli.llama.context import Context
from specli.llama.model import Model, ModelOptions
from specli.llama.opening import ContextOptions
from specli.llama.probe import read_record, run_child, write_record
from specli.sampling.chooser import Chooser
from specli.sampling.params import SamplingParams

_TOKENS = 8
_MODULE = "specli.drafters.heads.trial"
_SECONDS = 120
_BYTES_PER_SECOND = 50_000_000


def require_usable(head: Path, target: Path, records: Path) -> bool:
    """Try a head, or read from `records` (a folder) that it passed before; whether repacked weights
    work. Raises ModelFileError with what went wrong.
    """
    stats = [(file.resolve(), file.stat()) for file in (head, target)]
    key = [library.build_id(), *(f"{at} {one.st_size} {one.st_mtime_ns}" for at, one in stats)]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    record = records / f"head-{digest}.json"
    known = read_record(record)
    if known is not None:
        return known
    seconds = _SECONDS + sum(one.st_size for _at, one in stats) // _BYTES_PER_SECOND
    files = [str(head), str(target)]
    failure = run_child(_MODULE, files, seconds)
    if failure is not None and run_child(_MODULE, [*files, "plain"], seconds) is not None:
        raise ModelFileError(
            f"llama.cpp cannot draft with {head}: {failure.reason}",
            hint="the head is damaged, or was made for another target; run without it: `no_draft`",
        )
    write_record(record, head, repacked=failure is None)
    return failure is None


def draft_once(head: Path, target: Path, *, plain: bool = False) -> int:
    """Tokens drafted after a prompt of a few tokens, all on the CPU.

    A target that is its own head drafts with the MTP layers in its file.
    Raises the errors of `build_head`, and DecodeError. A damaged file may end the process.
    """
    within = head == target
    kind = MTP if within else head_kind(check_file(head))
    if kind is None:
        raise ModelFileError(f"{head} is no draft head")
    models = ModelOptions(gpu_layers=0, devices=["none"], repacked=not plain, mtp=kind == MTP)
    options = ContextOptions(n_ctx=64, n_batch=32, threads=2)
    with ExitStack() as stack:
        context = stack.enter_context(Context(stack.enter_context(Model(target, models)), options))
        model = context.model if within else stack.enter_context(Model(head, models))
        built = build_head(kind, HeadSource(model, context, options))
        stack.callback(built.decoder.close)
        context.want_features(built.features)
        vocab = context.model.vocab
        token = min(max(vocab.bos, 0), vocab.size - 1)
        prompt = [token] * (_TOKENS + 1)
        drafter = HeadDrafter(built)
        drafter.begin(0, prompt)
        context.add(0, prompt[:-1], 0, 0)
        context.decode()
        states = {layer: context.features(layer) for layer in built.features}
        drafter.process(TargetBatch([Decoded(0, prompt[:-1], 0, 0)], states))
        asked = Request(0, prompt, Rule(2), Chooser(SamplingParams(temperature=0), prompt))
        return len(drafter.propose([asked])[0])


if __name__ == "__main__":
    try:
        draft_once(Path(sys.argv[1]), Path(sys.argv[2]), plain=len(sys.argv) > 3)
    except SpecliError as error:
        sys.exit(error.message.replace("\n", " "))
