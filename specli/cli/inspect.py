"""`specli inspect`: the facts in the header of a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import Options

if TYPE_CHECKING:
    from rich.table import Table

    from specli.pairs.check import ExaminedModel


@takes("ctx_size", "json")
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model to look at.")],
    *,
    options: Options,
) -> None:
    """Show a model's architecture, size, vocabulary, template and memory from its header."""
    from specli.hub.remote import read_model_header
    from specli.pairs.check import examine

    examined = examine(read_model_header(model))
    context = options.number("ctx_size")
    sink = Sink.of(options)
    sink.data(_json(examined, context))
    sink.show(_table(examined, context))


def _json(model: ExaminedModel, context: int | None) -> dict[str, object]:
    from dataclasses import asdict

    from specli.pairs.sizing import chosen_context, memory_need

    tokenizer = model.tokenizer
    size = chosen_context(model.facts, context)
    need = memory_need(model.facts, size)
    return {
        "file": model.header.name,
        "bytes": model.header.file_size,
        **asdict(model.facts),
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
        "memory": {**asdict(need), "total": need.total, "context": size},
    }


def _table(model: ExaminedModel, context: int | None) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(model, context):
        table.add_row(name, Text(value))
    return table


def _rows(model: ExaminedModel, context: int | None) -> list[tuple[str, str]]:
    from specli.gguf.tokenizer import shown
    from specli.pairs.quantities import short_bytes, short_count
    from specli.pairs.sizing import chosen_context, memory_need

    facts, tokenizer = model.facts, model.tokenizer
    size = chosen_context(model.facts, context)
    need = memory_need(facts, size)
    parameters = short_count(facts.parameters)
    if facts.active_parameters != facts.parameters:
        parameters += f", {short_count(facts.active_parameters)} active per token"
    attention = f"{facts.heads} heads, {facts.kv_heads} for keys and values"
    if facts.window:
        attention += f", sliding window of {facts.window} tokens in some layers"
    if facts.is_recurrent:
        attention += f", recurrent state of {short_bytes(facts.state_bytes)}"
    vocabulary = f"{len(tokenizer)} tokens, {tokenizer.kind}"
    if tokenizer.pre:
        vocabulary += f", pre-tokenizer {tokenizer.pre}"
    rows = [
        ("file", f"{model.header.name} ({short_bytes(model.header.file_size)})"),
        ("name", facts.name or "not given"),
        ("architecture", facts.architecture),
        ("parameters", parameters),
        ("quantisation", facts.quantisation or "no tensors"),
        ("layers", f"{facts.layers}, embedding {facts.embedding_length}"),
        ("attention", attention),
        ("context", f"{facts.context_length} tokens in training"),
        ("vocabulary", vocabulary),
    ]
    for name, token, added in (
        ("BOS", tokenizer.bos, tokenizer.add_bos),
        ("EOS", tokenizer.eos, tokenizer.add_eos),
    ):
        if token is not None:
            text = f"{token} {shown(tokenizer.texts[token])}"
            rows.append((name, text + (", added to prompts" if added else "")))
    ends = ", ".join(f"{token} {shown(tokenizer.texts[token])}" for token in sorted(tokenizer.ends))
    return [
        *rows,
        ("ends", ends or "none"),
        ("chat template", _template_line(facts.chat_template)),
        ("KV cache", f"{short_bytes(facts.kv_bytes_per_token())} per token (f16)"),
        (
            "memory",
            f"{short_bytes(need.total)} at {size} tokens: {short_bytes(need.weights)} weights, "
            f"{short_bytes(need.cache)} cache, about {short_bytes(need.scratch)} scratch",
        ),
    ]


def _template_line(template: str | None) -> str:
    return f"yes, {len(template)} characters" if template else "none"
