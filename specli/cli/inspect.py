"""`specli inspect`: the facts in the header of a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.completion import models
from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import Options

if TYPE_CHECKING:
    from specli.pairs.check import ExaminedModel
    from specli.pairs.sizing import MemoryNeed


@takes("ctx_size", "json")
def inspect(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="The model to look at.", autocompletion=models),
    ],
    *,
    options: Options,
) -> None:
    """Show a model's architecture, size, vocabulary, template and memory from its header."""
    from rich.table import Table
    from rich.text import Text

    from specli.hub.remote import read_model_header
    from specli.pairs.check import examine
    from specli.pairs.sizing import chosen_context, memory_need

    examined = examine(read_model_header(model))
    context = chosen_context(examined.facts, options.number("ctx_size"))
    need = memory_need(examined.facts, context)
    sink = Sink.of(options)
    sink.data(_json(examined, context, need))
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(examined, context, need).items():
        table.add_row(name, Text(value))
    sink.show(table)


def _json(model: ExaminedModel, context: int, need: MemoryNeed) -> dict[str, object]:
    from dataclasses import asdict

    from specli.gguf.heads import read_mtp_layers

    tokenizer, mtp = model.tokenizer, read_mtp_layers(model.header)
    return {
        "file": model.header.name,
        "bytes": model.header.file_size,
        **asdict(model.facts),
        "head": None if model.head is None else asdict(model.head),
        "mtp": None if mtp is None else asdict(mtp),
        "tokenizer": {
            "type": tokenizer.kind,
            "pre": tokenizer.pre,
            "size": len(tokenizer),
            "bos": tokenizer.bos,
            "eos": tokenizer.eos,
            "add_bos": tokenizer.add_bos,
            "add_eos": tokenizer.add_eos,
            "ends": sorted(tokenizer.ends),
        },
        "kv_bytes_per_token": model.facts.kv_bytes_per_token(),
        "memory": {**asdict(need), "total": need.total, "context": context},
    }


def _head_rows(model: ExaminedModel) -> dict[str, str]:
    """What a head is and was made for, or the MTP layers in a model's own file."""
    from specli.gguf.heads import read_mtp_layers
    from specli.pairs.heads import described, mtp_graph

    head, mtp = model.head, read_mtp_layers(model.header)
    if head is not None:
        return {
            "head": described(head),
            "made for": f"a target of hidden size {head.hidden_size} and {head.vocabulary} tokens",
            "proposes": f"{head.draft_vocabulary} of {head.vocabulary} tokens "
            f"({100 * head.share:.0f} %)",
        }
    if mtp is None:
        return {}
    rule = mtp_graph(model.facts, mtp)
    return {"MTP layers": f"{described(mtp)}: {rule.detail}"}


def _rows(model: ExaminedModel, context: int, need: MemoryNeed) -> dict[str, str]:
    from specli.gguf.tokenizer import shown
    from specli.pairs.quantities import short_bytes, short_count

    facts, tokenizer = model.facts, model.tokenizer
    parameters = short_count(facts.parameters)
    if facts.active_parameters != facts.parameters:
        parameters += f", {short_count(facts.active_parameters)} active per token"
    attention = f"{facts.heads} heads, {facts.kv_heads} for keys and values"
    if facts.window:
        attention += f", sliding window of {facts.window} tokens in some layers"
    if facts.is_recurrent:
        attention += f", recurrent state of {short_bytes(facts.state_bytes)}"
    pre = f", pre-tokenizer {tokenizer.pre}" if tokenizer.pre else ""
    template = facts.chat_template

    def text(token: int) -> str:
        return f"{token} {shown(tokenizer.texts[token])}"

    rows = {
        "file": f"{model.header.name} ({short_bytes(model.header.file_size)})",
        "name": facts.name or "not given",
        "architecture": facts.architecture,
        "parameters": parameters,
        "quantisation": facts.quantisation or "no tensors",
        "layers": f"{facts.layers}, embedding {facts.embedding_length}",
        "attention": attention,
        "context": f"{facts.context_length} tokens in training",
        "vocabulary": f"{len(tokenizer)} tokens, {tokenizer.kind}{pre}",
    }
    if tokenizer.bos is not None:
        rows["BOS"] = text(tokenizer.bos) + (", added to prompts" if tokenizer.add_bos else "")
    if tokenizer.eos is not None:
        rows["EOS"] = text(tokenizer.eos) + (", added to prompts" if tokenizer.add_eos else "")
    return (
        rows
        | _head_rows(model)
        | {
            "ends": ", ".join(text(token) for token in sorted(tokenizer.ends)) or "none",
            "chat template": f"yes, {len(template)} characters" if template else "none",
            "KV cache": f"{short_bytes(facts.kv_bytes_per_token())} per token (f16)",
            "memory": f"{short_bytes(need.total)} at {context} tokens: {short_bytes(need.weights)} "
            f"weights, {short_bytes(need.cache)} cache, about {short_bytes(need.scratch)} scratch",
        }
    )
