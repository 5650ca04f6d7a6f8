"""Which transformer blocks of a model can be left out, and what its metadata must say then."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from specli.errors import UsageError
from specli.gguf.header import Header

# Architectures whose graph in llama.cpp treats every block alike, or by what the file says of
# each block (arrays, which are cut with the blocks).
_ALIKE = frozenset(
    """
    arcee bitnet bloom chatglm ernie4_5 exaone falcon falcon-h1 gemma gpt2 gptneox granite
    granitehybrid granitemoe hunyuan-dense internlm2 jamba lfm2 llama mamba mamba2 mistral3 mpt
    nemotron nemotron_h olmo olmoe openelm orion phi2 phi3 phimoe plamo qwen qwen2 qwen2moe qwen3
    qwen3moe refact seed_oss stablelm starcoder starcoder2 xverse
    """.split()  # noqa: SIM905 - forty names read better so
)
# Windowed attention in every block but the last of each group, where the file gives no array.
_WINDOWED = {"cohere2": 4, "gemma2": 2, "gemma3": 6, "gpt-oss": 2, "olmo2": 4}
# Recurrent blocks but for the last of each group.
_HYBRID = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
# No rotation of positions in the last block of each group.
_UNROTATED = {"smollm3": 4}
# The first blocks are dense, the others mixtures of experts, told apart by their number.
_DENSE_FIRST = frozenset({"deepseek", "dots1"})
# llama.cpp takes another attention scale for exactly this many blocks.
_COUNTED = {("gemma2", 46), ("gemma3", 62)}


@dataclass(frozen=True, slots=True)
class Blocks:
    """A model's blocks. `units` are the smallest groups that can be left out, apart from others.

    `cycle` is the distance at which blocks of one kind return, 1 where all are alike; the first
    `first` and the last `last` blocks have to stay. `refusal` says why none can be left out.
    """

    count: int
    cycle: int = 1
    first: int = 0
    last: int = 0
    refusal: str | None = None

    @property
    def units(self) -> list[tuple[int, ...]]:
        if self.refusal is not None:
            return []
        start = -(-self.first // self.cycle) * self.cycle
        starts = range(start, self.count - self.last - self.cycle + 1, self.cycle)
        units = [tuple(range(start, start + self.cycle)) for start in starts]
        return units if len(units) * self.cycle < self.count else units[:-1]


def read_blocks(header: Header) -> Blocks:
    """What the header says of a model's blocks. Raises ModelFileError for a broken one."""
    architecture = header.architecture
    count = header.model_integer("block_count") or 0
    last = header.model_integer("nextn_predict_layers") or 0
    refusal = _refusal(header, count)
    if refusal is not None:
        return Blocks(count, refusal=refusal)
    first = 0
    if architecture in _DENSE_FIRST:
        first = header.model_integer("leading_dense_block_count") or 0
    return Blocks(count, _cycle(header), first, last)


def _refusal(header: Header, count: int) -> str | None:
    architecture = header.architecture
    if header.model_integer("attention.shared_kv_layers"):
        return "its last blocks attend to the cache of earlier ones, which are found by counting"
    if header.model_integer("embedding_length_per_layer_input"):
        return "one tensor holds an input for every block, and would keep its size"
    if (architecture, count) in _COUNTED:
        return f"llama.cpp scales the attention of {architecture} by the number of blocks"
    known = {*_ALIKE, *_WINDOWED, *_HYBRID, *_UNROTATED, *_DENSE_FIRST}
    if architecture not in known:
        return f"specli does not know how blocks of {architecture} depend on their place"
    return None


def _cycle(header: Header) -> int:
    architecture = header.architecture
    if architecture in _WINDOWED:
        key = f"{architecture}.attention.sliding_window_pattern"
        field = header.fields.get(key)
        if not header.model_integer("attention.sliding_window"):
            return 1
        if field is not None and field.element is not None:
            return 1
        return max(header.integer(key) or _WINDOWED[architecture], 1)
    if architecture in _HYBRID:
        return header.model_integer("full_attention_interval") or _HYBRID[architecture]
    return _UNROTATED.get(architecture, 1)


def require_droppable(blocks: Blocks, dropped: Collection[int]) -> None:
    """Raise UsageError where these blocks cannot be left out, saying why."""
    if not dropped:
        return
    beyond = [block for block in dropped if not 0 <= block < blocks.count]
    if beyond:
        raise UsageError(
            f"there is no block {beyond[0]} among {blocks.count} blocks",
            hint=f"blocks are numbered from 0 to {blocks.count - 1}",
        )
    if blocks.refusal is not None:
        raise UsageError(
            f"no block of this model can be left out: {blocks.refusal}",
            hint="leave out --drop-layers and --keep-layers: its weights can be made smaller",
        )
    fixed = [b for b in sorted(dropped) if b < blocks.first or b >= blocks.count - blocks.last]
    if fixed:
        raise UsageError(
            f"block {fixed[0]} has to stay: blocks of its kind are told apart by their place",
            hint=f"droppable are {blocks.first} to {blocks.count - blocks.last - 1}",
        )
    kept = kept_blocks(blocks.count, dropped)
    if not kept:
        raise UsageError("no block would be left", hint="keep at least one")
    if any(place % blocks.cycle != block % blocks.cycle for place, block in enumerate(kept)):
        groups = ", ".join(f"{unit[0]}-{unit[-1]}" for unit in blocks.units[:3])
        raise UsageError(
            f"the kinds of blocks return every {blocks.cycle} blocks, and what is left here would "
            "be out of step",
            hint=f"drop whole groups, such as {groups}",
        )


def kept_blocks(count: int, dropped: Collection[int]) -> list[int]:
    return [block for block in range(count) if block not in dropped]


def per_block_keys(header: Header) -> list[str]:
    """Metadata arrays with one entry for each block."""
    count = header.model_integer("block_count") or 0
    prefix = f"{header.architecture}."
    return [
        key
        for key, field in header.fields.items()
        if key.startswith(prefix)
        # Sections of a rotation have few entries of their own, which may be as many as blocks.
        and not key.startswith(f"{prefix}rope.")
        and field.element is not None
        and not isinstance(field.value, list)
        and len(header.numbers(key) or ()) == count
    ]


def parse_blocks(flag: str, text: str) -> frozenset[int]:
    """Blocks as people write them: `4,7-9`; `none` is none. Raises UsageError."""
    if text == "none":
        return frozenset()
    blocks: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(
                f"{flag} takes block numbers and ranges, not {part.strip()!r}",
                hint=f"such as {flag} 4,7-9",
            )
        end = int(last) if dash else int(first)
        if end < int(first) or end > 10_000:
            raise UsageError(f"{flag}: {part.strip()!r} is no range of blocks")
        blocks |= set(range(int(first), end + 1))
    return frozenset(blocks)


def block_ranges(blocks: Collection[int]) -> str:
    """The same in the other direction: `4, 7-9`."""
    spans: list[list[int]] = []
    for block in sorted(blocks):
        if spans and spans[-1][-1] == block - 1:
            spans[-1].append(block)
        else:
            spans.append([block])
    return ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in spans)
