"""A context: a model's cache for several sequences, with batches, logits and rollback."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, ClassVar, Literal

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from specli.closing import Closing
from specli.errors import DecodeError, LoadError
from specli.gguf.facts import BYTES_PER_ELEMENT
from specli.llama import features, library
from specli.llama.decoder import Logits
from specli.llama.model import Model
from specli.llama.opening import ContextOptions, open_context
from specli.llama.sampler import NO_TOKEN, BestTokens

RollbackMeans = Literal["cut", "snapshots", "checkpoint"]
"""How a tail of tokens is forgotten: cutting the cache, llama.cpp's recurrent snapshots, or
going back to a kept state and decoding the kept tokens again."""

# llama-cpp-python declares a float pointer; reading its address costs more than the call.
_logits_at = library.function(
    "llama_get_logits_ith", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
)


class Context(Closing):
    """Implements `Decoder` on llama.cpp. Use it as a context manager, or call `close`."""

    exact = False
    least_rows = 1
    opened: ClassVar[bool] = False
    """Whether this process has opened a context."""

    def __init__(self, model: Model, options: ContextOptions) -> None:
        """Allocate the cache. Raises LoadError when llama.cpp cannot, with its reason."""
        n_ctx = options.n_ctx or model.context_length
        self._handle: Any = None
        handle = self._handle = open_context(model, options, n_ctx)
        Context.opened = True
        self._memory = llama_cpp.llama_get_memory(handle)
        if not self._memory:
            self.close()
            raise LoadError(f"{model.path} keeps no cache of tokens, so it cannot generate text")
        self.model = model
        self.n_ctx: int = min(n_ctx, llama_cpp.llama_n_ctx_seq(handle))
        self.n_batch: int = llama_cpp.llama_n_batch(handle)
        self.n_vocab: int = model.vocab.size
        self.n_seq = options.n_seq
        """Sequences; where checkpoints are taken, those from `n_seq` on hold them."""
        self._types = options.type_k, options.type_v
        self._threads_batch = options.threads_batch
        self.native_ns = 0
        self.threads = options.threads
        self.rollback_means: RollbackMeans = "cut"
        self.max_rollback: int | None = None
        if model.is_recurrent:
            self.max_rollback = llama_cpp.llama_n_rs_seq(handle) or None
            self.rollback_means = "snapshots" if self.max_rollback else "checkpoint"
        self._checkpoints: dict[int, _Checkpoint] = {}
        self._address = ctypes.cast(handle, ctypes.c_void_p).value or 0
        on_device = options.best_on_device
        if on_device is None:
            on_device = model.output_on_gpu
        self._best = BestTokens(self._address) if on_device else None
        self._count = 0
        self._decoded = 0
        """Tokens of the last batch."""
        self._layers: tuple[int, ...] = ()
        self._make_batch()

    def _make_batch(self) -> None:
        size = self.n_batch
        self._token = np.zeros(size, dtype=np.int32)
        self._position = np.zeros(size, dtype=np.int32)
        self._seq = np.zeros(size, dtype=np.int32)
        self._wanted = np.zeros(size, dtype=np.int8)
        self._seq_counts = np.ones(size, dtype=np.int32)
        start = self._seq.ctypes.data
        self._seq_rows = np.arange(start, start + 4 * size, 4, dtype=np.uintp)
        self._range = np.arange(self.n_ctx + size, dtype=np.int32)
        batch = llama_cpp.llama_batch()
        for name, array in (
            ("token", self._token),
            ("pos", self._position),
            ("n_seq_id", self._seq_counts),
            ("seq_id", self._seq_rows),
            ("logits", self._wanted),
        ):
            point(batch, name, array)
        self._batch = batch

    @property
    def handle(self) -> Any:
        if self._handle is None:
            raise ValueError("the context has been closed")
        return self._handle

    def use_threads(self, threads: int) -> None:
        """Compute with so many CPU threads from the next batch on."""
        llama_cpp.llama_set_n_threads(self.handle, threads, self._threads_batch or threads)
        self.threads = threads

    def add(self, seq: int, tokens: Sequence[int], position: int, outputs: int) -> int:
        """Append tokens to the batch; see `Decoder.add`. Raises DecodeError if it is full."""
        end = self._count + len(tokens)
        if end > self.n_batch:
            raise DecodeError(f"a batch of {end} tokens is larger than the {self.n_batch} allowed")
        if position + len(tokens) > self.n_ctx:
            raise DecodeError(
                f"position {position + len(tokens)} is outside the context of {self.n_ctx} tokens"
            )
        return self._append(seq, tokens, position, outputs)

    def _append(self, seq: int, tokens: Sequence[int], position: int, outputs: int) -> int:
        start = self._count
        end = start + len(tokens)
        self._token[start:end] = tokens
        self._position[start:end] = self._range[position : position + len(tokens)]
        self._seq[start:end] = seq
        if outputs > 1 and self._best is not None:
            self._best.forget(seq)
        self._wanted[start : end - outputs] = 0
        self._wanted[end - outputs : end] = 1
        self._count = end
        saved = self._checkpoints.get(seq)
        if saved is not None:
            saved.tokens.extend(tokens)
        return end - outputs

    def decode(self) -> None:
        """Run the batch and empty it; see `Decoder.decode`."""
        self._batch.n_tokens = self._count
        count, self._count = self._count, 0
        self._decoded = count
        if self.model.on_servers and count and not self._wanted[:count].any():
            # llama.cpp waits for an RPC server's results only: the next batch would seem to take
            # the time of this one.
            self._wanted[count - 1] = 1
        handle = self.handle
        begin = perf_counter_ns()
        status = llama_cpp.llama_decode(handle, self._batch)
        llama_cpp.llama_synchronize(handle)
        self.native_ns += perf_counter_ns() - begin
        if status == 0:
            return
        if status == 1:
            raise DecodeError(
                f"no room for {count} more tokens in the cache of {self.model.path}",
                hint="a larger context (-c) gives more room",
            )
        raise DecodeError(
            f"llama.cpp failed to decode {count} tokens with {self.model.path} "
            f"(status {status}): {library.log_errors()}"
        )

    def logits(self, row: int) -> Logits:
        """A view on the logits of a batch row; see `Decoder.logits`."""
        address = _logits_at(self._address, row)
        if not address:
            raise DecodeError(f"llama.cpp has no logits for row {row} of the batch")
        return features.floats(address, self.n_vocab)

    def watch_best(self, seq: int, wanted: bool) -> None:
        """See `Decoder.watch_best`. A change costs some milliseconds at the next batch."""
        best = self._best
        if best is None or wanted == (seq in best):
            return
        begin = perf_counter_ns()
        if wanted:
            best.watch(seq)
        else:
            best.forget(seq)
        self.native_ns += perf_counter_ns() - begin

    def best(self, row: int) -> tuple[int, float] | None:
        """See `Decoder.best`. Raises DecodeError where the device has found nothing."""
        best = self._best
        if best is None or int(self._seq[row]) not in best:
            return None
        token, chance = best.best(row)
        if token == NO_TOKEN:
            raise DecodeError(f"llama.cpp has no best token for row {row} of the batch")
        return token, chance

    def checkpoint(self, seq: int) -> None:
        """Keep the state of now where a model has one that cannot be cut; else nothing.

        A second sequence shares it: llama.cpp copies a shared state, in its own memory, when one of
        the two goes on.
        """
        if self.rollback_means == "checkpoint":
            begin = perf_counter_ns()
            self._share(seq, self.n_seq + seq)
            self.native_ns += perf_counter_ns() - begin
            self._checkpoints[seq] = _Checkpoint(self.length(seq), [])

    def rollback(self, seq: int, length: int) -> None:
        """Forget every token of `seq` from `length` on. Raises DecodeError if it cannot be done."""
        begin = perf_counter_ns()
        if self.length(seq) <= length:
            return
        cut = llama_cpp.llama_memory_seq_rm(self._memory, seq, length, -1)
        self.native_ns += perf_counter_ns() - begin
        if not cut:
            self._restore(seq, length)
        elif (saved := self._checkpoints.get(seq)) is not None:
            if length < saved.length:
                del self._checkpoints[seq]
                llama_cpp.llama_memory_seq_rm(self._memory, self.n_seq + seq, -1, -1)
            else:
                del saved.tokens[length - saved.length :]

    def cheap_rollback(self, seq: int, length: int) -> int:
        """See `Decoder.cheap_rollback`."""
        if self.rollback_means != "checkpoint" or self.length(seq) <= length:
            return length
        saved = self._checkpoints.get(seq)
        return saved.length if saved is not None and saved.length <= length else 0

    def drop(self, seq: int, start: int, end: int) -> bool:
        """See `Decoder.drop`. Cells that sequences share would move for all of them, so that only a
        context of one sequence moves any."""
        memory = self._memory
        # Moving quantised keys ends the process (llama-cpp-python 0.3.36, head size 32).
        movable = self._types[0] in ("f16", "f32") and llama_cpp.llama_memory_can_shift(memory)
        if not movable or not self.can_cut or self.n_seq > 1:
            return False
        llama_cpp.llama_memory_seq_rm(memory, seq, start, end)
        llama_cpp.llama_memory_seq_add(memory, seq, end, -1, start - end)
        return True

    def copy(self, source: int, seq: int, length: int) -> None:
        """Share cached tokens between sequences; see `Decoder.copy`.

        The cache is one for all sequences, so that nothing is decoded or moved.
        """
        begin = perf_counter_ns()
        llama_cpp.llama_memory_seq_cp(self._memory, source, seq, 0, length)
        self.native_ns += perf_counter_ns() - begin

    def want_features(self, layers: Sequence[int]) -> None:
        """See `Decoder.want_features`. The next decode builds its graph anew."""
        features.enable(self._address, layers, self.model.architecture, self.model.layers)
        self._layers = tuple(layers)

    def features(self, layer: int) -> NDArray[np.float32]:
        """See `Decoder.features`; shape (tokens of the last batch, hidden size)."""
        if layer not in self._layers:
            raise ValueError(f"the inputs of layer {layer} are not kept")
        return features.read(self._address, layer, self._decoded, self.model.hidden_size)

    @property
    def bytes_per_token(self) -> float:
        """What each token adds to the cache, at most: some layers may keep less."""
        types = [BYTES_PER_ELEMENT[kind] for kind in self._types]
        return self.model.layers * self.model.cached_width * sum(types)

    @property
    def can_cut(self) -> bool:
        return self.rollback_means == "cut"

    def length(self, seq: int) -> int:
        """Tokens of `seq` in the cache."""
        last: int = llama_cpp.llama_memory_seq_pos_max(self._memory, seq)
        return last + 1

    def _share(self, source: int, seq: int) -> None:
        """Let `seq` have what `source` has, and nothing else."""
        llama_cpp.llama_memory_seq_rm(self._memory, seq, -1, -1)
        llama_cpp.llama_memory_seq_cp(self._memory, source, seq, -1, -1)

    def _restore(self, seq: int, length: int) -> None:
        saved = self._checkpoints.get(seq)
        if saved is None or saved.length > length:
            raise DecodeError(
                f"the state of {self.model.path} cannot go back to {length} tokens: "
                "no checkpoint was taken before them"
            )
        begin = perf_counter_ns()
        self._share(self.n_seq + seq, seq)
        self.native_ns += perf_counter_ns() - begin
        again, saved.tokens = saved.tokens[: length - saved.length], []
        if again:
            self.add(seq, again, saved.length, 0)
            self.decode()

    def close(self) -> None:
        """Free the context; the model stays."""
        handle, self._handle = self._handle, None
        if handle is not None:
            llama_cpp.llama_free(handle)
            if self._best is not None:
                self._best.close()


def point(batch: Any, name: str, array: NDArray[Any] | None) -> None:
    """Let a field of a llama_batch point to an array, which has to outlive it; None is NULL."""
    # A void pointer at the field's address sets it whatever it points to.
    field = ctypes.addressof(batch) + getattr(llama_cpp.llama_batch, name).offset
    ctypes.c_void_p.from_address(field).value = None if array is None else array.ctypes.data


@dataclass(slots=True)
class _Checkpoint:
    """How many tokens a kept state has seen, and those decoded since."""

    length: int
    tokens: list[int]
