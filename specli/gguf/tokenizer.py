"""What llama.cpp makes of a header's tokenizer fields: kind, special ids and the token texts.

The defaults depend on the tokenizer model and, for BPE, on the pre-tokenizer. They are facts of
`llama_vocab::impl::load`, and tests compare them with a `vocab_only` load of the same file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Never

from specli.errors import ModelFileError
from specli.gguf.header import Header
from specli.gguf.types import ValueType

TOKENS = "tokenizer.ggml.tokens"
_CONVERT_AGAIN = "convert the model again"
BYTE_TOKEN = 6


@dataclass(frozen=True, slots=True)
class _Defaults:
    kind: str
    bos: int | None
    eos: int | None
    add_bos: bool = False
    add_eos: bool = False


_DEFAULTS = {
    "llama": _Defaults("SPM", 1, 2, add_bos=True),
    "bert": _Defaults("WPM", 101, None, add_bos=True),
    "gpt2": _Defaults("BPE", 11, 11),
    "hybriddna": _Defaults("BPE", 11, 11),
    "whitespace": _Defaults("BPE", 11, 11),
    "gemma4": _Defaults("BPE", None, None),
    "t5": _Defaults("UGM", None, 1, add_eos=True),
    "rwkv": _Defaults("RWKV", None, None),
    "plamo2": _Defaults("PLAMO2", 1, 2),
}

# fmt: off
_PRE_THAT_ADD_BOS = frozenset([
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
    "jina-v5-nano", "tekken", "chameleon",
])
_PRE_THAT_ALWAYS_ADD_BOS = frozenset(["gemma4", "granite-embed-multi-311m"])
_PRE_WITHOUT_BOS = frozenset(["chatglm-bpe", "glm4", "glm5"])

_END_TEXTS = frozenset([
    b"<|eot_id|>", b"<|im_end|>", b"<|end|>", b"<|return|>", b"<|call|>", b"<|flush|>",
    b"<|calls|>", b"<end_of_turn>", b"<|endoftext|>", b"</s>", b"<|eom_id|>", b"<EOT>", b"_<EOT>",
    b"[EOT]", b"[EOS]", b"<|end_of_text|>", b"<end_of_utterance>", b"<eos>", b"<turn|>",
    b"<|tool_response>", "<｜end▁of▁sentence｜>".encode(), b"[e~[",
])
_FILL_IN_TEXTS = {
    "fim_pad": frozenset([b"<|fim_pad|>", b"<fim-pad>", b"<fim_pad>", b"<PAD>", b"[PAD]"]),
    "fim_rep": frozenset([
        b"<|fim_repo|>", b"<|repo_name|>", b"<fim-repo>", b"<REPO>", b"<reponame>",
    ]),
    "fim_sep": frozenset([b"<|file_sep|>"]),
}
# fmt: on
"""Fill-in-the-middle tokens end a generation too; a key in the file beats these texts."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A model's tokenizer as llama.cpp would load it.

    `kind` is llama.cpp's vocabulary type. `bos` and `eos` are None where the model has no such
    token. `texts` are raw token texts, cut and filled in as llama.cpp does.
    """

    model: str
    pre: str
    kind: str
    texts: list[bytes]
    bos: int | None
    eos: int | None
    add_bos: bool
    add_eos: bool
    ends: frozenset[int]

    def __len__(self) -> int:
        return len(self.texts)


def read_tokenizer(header: Header) -> Tokenizer:
    """The tokenizer described by a header.

    Raises ModelFileError where llama.cpp would refuse or crash: no tokenizer, an unknown one,
    fields of the wrong type, lists too short for the vocabulary, the same token twice.
    """
    model = _text(header, "tokenizer.ggml.model")
    if model is None or model in ("none", "no_vocab"):
        _refuse(
            header,
            "has no tokenizer, so it cannot generate text",
            "use a GGUF of a text model; projectors and embeddings-only files do not work",
        )
    defaults = _DEFAULTS.get(model)
    if defaults is None:
        what = f"has a tokenizer of the unknown kind {model!r}"
        _refuse(header, what, "update specli and llama-cpp-python")
    pre = _text(header, "tokenizer.ggml.pre") or ""
    if model == "gemma4":
        pre = "gemma4"
    texts = _texts(header, model)
    _check_lists(header, len(texts), defaults.kind, pre)
    bos_default = None if pre in _PRE_WITHOUT_BOS else defaults.bos
    bos = _token_id(header, "bos_token_id", bos_default, len(texts))
    eos = _token_id(header, "eos_token_id", defaults.eos, len(texts))
    is_bpe = defaults.kind == "BPE"
    add_bos = defaults.add_bos or (is_bpe and pre in _PRE_THAT_ADD_BOS)
    add_bos = _flag(header, "add_bos_token", add_bos)
    add_bos |= is_bpe and pre in _PRE_THAT_ALWAYS_ADD_BOS
    add_eos = _flag(header, "add_eos_token", defaults.add_eos)
    wanted = {"bos": bos} if add_bos or defaults.kind == "WPM" else {}
    wanted |= {"eos": eos} if add_eos else {}
    if defaults.kind == "WPM":
        wanted["seperator"] = _token_id(header, "seperator_token_id", 102, len(texts))
    _require_edges(header, wanted)
    ends = _ends(header, texts, eos)
    return Tokenizer(model, pre, defaults.kind, texts, bos, eos, add_bos, add_eos, ends)


def _require_edges(header: Header, wanted: dict[str, int | None]) -> None:
    """llama.cpp aborts while tokenizing when a token it puts around every prompt is missing."""
    for name, token in wanted.items():
        if token is None:
            _refuse(
                header,
                f"asks for a {name.upper()} token around every prompt but has none",
                f"set tokenizer.ggml.{name}_token_id, or {_CONVERT_AGAIN}",
            )


def _texts(header: Header, model: str) -> list[bytes]:
    raw = header.strings(TOKENS)
    if not raw:
        _refuse(header, "has no token list")
    texts = raw
    if any(not text or b"\0" in text for text in raw):
        # C strings end at the first zero byte, and llama.cpp gives empty tokens a name.
        cut = (text.split(b"\0", 1)[0] for text in raw)
        texts = [text or b"[EMPTY_%d]" % index for index, text in enumerate(cut)]
    if len(set(texts)) != len(texts):
        first: dict[bytes, int] = {}
        for index, text in enumerate(texts):
            if first.setdefault(text, index) != index:
                where = f"as {first[text]} and as {index}"
                _refuse(header, f"lists the token {shown(text)} twice, {where}")
    if model == "hybriddna" and b"<oov>" in texts:
        start = texts.index(b"<oov>") + 1
        texts = texts[:start] + [text.removesuffix(_DNA_MARKER) for text in texts[start:]]
    return texts


_DNA_MARKER = "\ue000".encode()


def _check_lists(header: Header, size: int, kind: str, pre: str) -> None:
    merges = header.strings("tokenizer.ggml.merges")
    if kind == "BPE" and merges is None and pre != "kimi-k2":
        _refuse(header, "has a BPE tokenizer without merges")
    allowed = {
        "tokenizer.ggml.scores": (ValueType.INT32, ValueType.FLOAT32),
        "tokenizer.ggml.token_type": (ValueType.INT32,),
    }
    for key, types in allowed.items():
        values = header.numbers(key)
        if values is None:
            continue
        if header.fields[key].element not in types:
            raise ModelFileError(f"{header.name}: {key} holds values of the wrong type")
        if len(values) < size:
            raise ModelFileError(
                f"{header.name}: {key} has {len(values)} entries for {size} tokens",
                hint=_CONVERT_AGAIN,
            )
    if kind == "WPM" and BYTE_TOKEN in (header.numbers("tokenizer.ggml.token_type") or ())[:size]:
        _refuse(header, "has byte tokens in a WordPiece tokenizer, on which llama.cpp aborts")


def _ends(header: Header, texts: list[bytes], eos: int | None) -> frozenset[int]:
    """Ids after which llama.cpp stops generating."""
    named = {text: index for index, text in enumerate(texts) if text in _END_TEXTS}
    given = [_token_id(header, f"{key}_token_id", None, len(texts)) for key in ("eot", "eom")]
    ends = {token for token in (eos, *given, *named.values()) if token is not None}
    for key, fill_in_texts in _FILL_IN_TEXTS.items():
        token = _token_id(header, f"{key}_token_id", None, len(texts))
        if token is None:
            ends.update(index for index, text in enumerate(texts) if text in fill_in_texts)
        else:
            ends.add(token)
    calls = {b"<|call|>", b"<|calls|>"} & named.keys()
    if calls and {b"<|return|>", b"<|flush|>"} & named.keys() and b"<|end|>" in named:
        ends.discard(named[b"<|end|>"])
    end_texts = {texts[token] for token in ends}
    if b"</s>" in named and {b"<|tool_response>", b"<|plamo:eos|>"} & end_texts:
        ends.discard(named[b"</s>"])
    return frozenset(ends)


def _token_id(header: Header, key: str, default: int | None, size: int) -> int | None:
    """A special token's id; ids outside the vocabulary fall back, as they do in llama.cpp."""
    if default is not None and default >= size:
        default = None
    key = f"tokenizer.ggml.{key}"
    _require_type(header, key, ValueType.UINT32)
    token = header.integer(key)
    return token if token is not None and token < size else default


def _text(header: Header, key: str) -> str | None:
    _require_type(header, key, ValueType.STRING)
    return header.text(key)


def _flag(header: Header, key: str, default: bool) -> bool:
    key = f"tokenizer.ggml.{key}"
    _require_type(header, key, ValueType.BOOL)
    found = header.flag(key)
    return default if found is None else found


def _require_type(header: Header, key: str, kind: ValueType) -> None:
    """llama.cpp takes these keys in one exact type and refuses the file otherwise."""
    field = header.fields.get(key)
    if field is not None and field.kind is not kind:
        raise ModelFileError(
            f"{header.name}: {key} is of type {field.kind.name.lower()}, not {kind.name.lower()}",
            hint=_CONVERT_AGAIN,
        )


def _refuse(header: Header, what: str, hint: str = _CONVERT_AGAIN) -> Never:
    raise ModelFileError(f"{header.name} {what}", hint=hint)


def shown(text: bytes) -> str:
    """A token's text in quotes, safe to print on one line."""
    return repr(text.decode("utf-8", "backslashreplace"))
