"""What the header of a model file says: as `--json` prints it, and as rows for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from specli.figures import short_bytes, short_count
from specli.gguf.heads import HeadFacts, read_mtp_layers
from specli.gguf.tokenizer import shown
from specli.hub.remote import read_model_header
from specli.pairs.check import ExaminedModel, examine
from specli.pairs.heads import described, mtp_graph
from specli.pairs.sizing import MemoryNeed, chosen_context, memory_need


@dataclass(frozen=True, slots=True)
class Inspected:
    """A model, the MTP layers in its own file, and the memory that `context` tokens take."""

    model: ExaminedModel
    mtp: HeadFacts | None
    context: int
    need: MemoryNeed

    def report(self) -> dict[str, object]:
        model, need = self.model, self.need
        tokenizer = model.tokenizer
        return {
            "file": model.header.name,
            "bytes": model.header.file_size,
            **asdict(model.facts),
            "head": None if model.head is None else asdict(model.head),
            "mtp": None if self.mtp is None else asdict(self.mtp),
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
            "memory": {**asdict(need), "total": need.total, "context": self.context},
        }

    def rows(self) -> dict[str, str]:
        model, need = self.model, self.need
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
        return {
            **rows,
            **self._head_rows(),
            "ends": ", ".join(text(token) for token in sorted(tokenizer.ends)) or "none",
            "chat template": f"yes, {len(template)} characters" if template else "none",
            "KV cache": f"{short_bytes(facts.kv_bytes_per_token())} per token (f16)",
            "memory": f"{short_bytes(need.total)} at {self.context} tokens: "
            f"{short_bytes(need.weights)} weights, {short_bytes(need.cache)} cache, "
            f"about {short_bytes(need.scratch)} scratch",
        }

    def _head_rows(self) -> dict[str, str]:
        """What a head is and was made for, or the MTP layers in a model's own file."""
        head = self.model.head
        if head is not None:
            width, size = head.hidden_size, head.vocabulary
            return {
                "head": described(head),
                "made for": f"a target of hidden size {width} and {size} tokens",
                "proposes": f"{head.draft_vocabulary} of {size} tokens ({100 * head.share:.0f} %)",
            }
        if self.mtp is None:
            return {}
        rule = mtp_graph(self.model.facts, self.mtp)
        return {"MTP layers": f"{described(self.mtp)}: {rule.detail}"}


def inspect(reference: str, context: int | None) -> Inspected:
    """Read the header of a model; `context` as in `chosen_context`.

    Raises UsageError, ModelFileError and FetchError.
    """
    model = examine(read_model_header(reference))
    tokens = chosen_context(model.facts, context)
    mtp = read_mtp_layers(model.header)
    return Inspected(model, mtp, tokens, memory_need(model.facts, tokens))
