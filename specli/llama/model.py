"""A loaded model: owns the native handle and frees it once."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llama_cpp

from specli.closing import Closing
from specli.errors import LoadError, SpecliError, UsageError
from specli.gguf.facts import SNAPSHOTS
from specli.llama import library
from specli.llama.parameters import (
    apply_adapters,
    apply_control_vectors,
    load_adapters,
    load_control_vectors,
    set_model,
)
from specli.llama.vocab import Vocab
from specli.native import USUAL, Native

ALL_LAYERS = -1


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How to load a model.

    `gpu_layers` None means all layers when the build has a GPU, else none. `devices` are names
    from `library.devices()`; empty means llama.cpp's own choice, `["none"]` means CPU only.
    `repacked` lets llama.cpp keep weights in the layout that its fastest kernels want. With `mtp`
    the weights of MTP layers are loaded too.
    """

    gpu_layers: int | None = None
    devices: list[str] = field(default_factory=list)
    vocab_only: bool = False
    repacked: bool = True
    native: Native = USUAL
    mtp: bool = False


class Model(Closing):
    """A model in memory. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        path: Path,
        options: ModelOptions | None = None,
        on_progress: Callable[[float], None] = lambda _share: None,
    ) -> None:
        """Load `path`. The caller has checked its header. `on_progress` gets the share of the
        weights that is loaded, between 0 and 1; Ctrl-C ends the load.

        Raises LoadError with llama.cpp's own words when it refuses the file, UsageError for a
        device that does not exist.
        """
        library.start()
        options = options or ModelOptions()
        params = llama_cpp.llama_model_default_params()
        has_gpu = library.supports_gpu()
        layers = options.gpu_layers
        if layers is None:
            layers = ALL_LAYERS if has_gpu else 0
        params.n_gpu_layers = layers
        params.vocab_only = options.vocab_only
        params.use_extra_bufts = options.repacked
        # llama.cpp looks at some of these later too.
        self._kept = set_model(params, options.native)
        params.load_mtp = options.mtp
        # The array must live until the load is over; llama.cpp copies it.
        handles = _device_array(options.devices)
        if handles is not None:
            params.devices = ctypes.cast(handles, ctypes.c_void_p)
        self.path = path
        remote = {one.name for one in library.devices() if one.is_remote}
        chosen = remote.intersection(options.devices or remote)
        self.on_servers = bool(layers and chosen)
        """Whether layers may be on RPC servers."""
        self._handle: Any = None
        library.forget_log()
        with library.holding_interrupts() as pressed:

            def go_on(share: float, _data: object) -> bool:
                on_progress(share)
                return not pressed()

            # llama.cpp keeps only the pointer: the object has to live until the load is over.
            callback = llama_cpp.llama_progress_callback(go_on)
            params.progress_callback = callback
            handle = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
            if pressed() and handle:
                llama_cpp.llama_model_free(handle)
        if not handle:
            if (short := library.out_of_memory(str(path))) is not None:
                raise short
            raise LoadError(
                f"llama.cpp could not load {path}: {library.log_errors()}",
                hint="run again with `verbose` to see llama.cpp's whole log",
            )
        self._handle = handle
        self._read_facts(handle)
        try:
            self._adapters = load_adapters(handle, options.native.loras)
            self._control = load_control_vectors(
                options.native.control_vectors, self.hidden_size, self.layers
            )
        except SpecliError:
            self.close()
            raise
        self._scales = [scale for _file, scale in options.native.loras]
        self._control_layers = options.native.control_layers
        # llama.cpp offloads from the end of the model: the output layer goes first.
        self.output_on_gpu = has_gpu and layers != 0 and options.devices != ["none"]
        self.vocab = Vocab(llama_cpp.llama_model_get_vocab(handle))
        self._template: str | None = None
        self._before_template = ""

    def _read_facts(self, handle: Any) -> None:
        self.layers: int = llama_cpp.llama_model_n_layer(handle)
        self.parameters: int = llama_cpp.llama_model_n_params(handle)
        self.size: int = llama_cpp.llama_model_size(handle)
        """Bytes of all tensors."""
        self.context_length: int = llama_cpp.llama_model_n_ctx_train(handle)
        """Tokens of context that the model was trained on."""
        self.hidden_size: int = llama_cpp.llama_model_n_embd(handle)
        """Width of the hidden states between layers."""
        self.state_size: int = llama_cpp.llama_model_n_embd_out(handle)
        """Width of the hidden states that come out, and that MTP layers take."""
        self.mtp_layers: int = llama_cpp.llama_model_n_layer_nextn(handle)
        """How many MTP layers the file says that it has."""
        recurrent = llama_cpp.llama_model_is_recurrent, llama_cpp.llama_model_is_hybrid
        self.is_recurrent = any(one(handle) for one in recurrent)
        """Whether a recurrent state, not only a cache of positions, carries the past."""

    @property
    def handle(self) -> Any:
        if self._handle is None:
            raise ValueError("the model has been closed")
        return self._handle

    def apply_adapters(self, context: Any) -> bool:
        """Compute with the model's adapters and control vectors, if it has any; False where
        llama.cpp refuses."""
        if self._adapters and not apply_adapters(context, self._adapters, self._scales):
            return False
        control = self._control
        return control is None or apply_control_vectors(context, control, self._control_layers)

    @property
    def cached_width(self) -> int:
        """Elements that a layer keeps as a token's key, and again as its value."""
        heads = max(llama_cpp.llama_model_n_head(self.handle), 1)
        size = self.integer(f"{self.architecture}.attention.key_length", self.hidden_size // heads)
        return llama_cpp.llama_model_n_head_kv(self.handle) * size

    @property
    def architecture(self) -> str:
        """`general.architecture`; empty where the file has none."""
        return self.text("general.architecture") or ""

    def text(self, key: str) -> str | None:
        """A single value of the file's metadata as text; None where there is none."""
        buffer = ctypes.create_string_buffer(128)
        found = llama_cpp.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if found >= 0 else None

    def integer(self, key: str, default: int = 0) -> int:
        """A whole number of the file's metadata."""
        text = self.text(key)
        return default if text is None else int(text)

    @property
    def keeps_snapshots(self) -> bool:
        """Whether llama.cpp can keep earlier steps of its recurrent state."""
        return self.architecture in SNAPSHOTS

    def require_text_generation(self) -> None:
        """Raises LoadError unless it is a left-to-right decoder, which speculation needs."""
        decodes = llama_cpp.llama_model_has_decoder(self.handle)
        encodes = llama_cpp.llama_model_has_encoder(self.handle)
        if encodes or not decodes or llama_cpp.llama_model_is_diffusion(self.handle):
            raise LoadError(
                f"{self.path} is not a left-to-right text generator ({self.description})",
                hint="speculative decoding needs a model that writes text token by token",
            )

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of the file, or the one that took its place; None without one."""
        text = self._template
        if text is None:
            found = llama_cpp.llama_model_chat_template(self.handle, None)
            text = found.decode("utf-8", "replace") if found else None
        return None if text is None else self._before_template + text

    def use_template(self, text: str | None, before: str = "") -> None:
        """Take another chat template, where there is one, with Jinja to put before either."""
        self._template, self._before_template = text, before

    def close(self) -> None:
        """Free the model; contexts made from it must have been closed before."""
        handle, self._handle = self._handle, None
        if handle is not None:
            llama_cpp.llama_model_free(handle)


def _device_array(names: list[str]) -> Any:
    if not names:
        return None
    try:
        return library.device_handles([] if names == ["none"] else names)
    except KeyError as missing:
        known = ", ".join(device.name for device in library.devices())
        raise UsageError(
            f"no such device: {missing.args[0]!r}",
            hint=f"this build of llama.cpp has: {known}; `none` keeps the model on the CPU",
        ) from None
