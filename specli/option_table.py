"""Every option that commands share, declared once.

From this table come the flags of the commands, the keys of profiles and docs/cli.md.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Any, Literal

from specli.speculative import AUTO as AUTO
from specli.speculative import LARGEST as LARGEST
from specli.speculative import MOST_DRAFTED, MOST_THREADS, NGRAM_DRAFT, NGRAM_SIZE

ALL = "all"

MOST_SEED = 2**64 - 1
"""The noise of sampling takes 64 bits."""

MOST_TEMPERATURE = 100
"""At this one every candidate is as good as any other."""

MOST_PENALTY = 100
"""Far above all differences between logits."""

MOST_BIAS = 1_000_000
"""What `--logit-bias` may add to a logit, or take from it."""

MOST_BATCH = 1 << 14
"""Tokens; more than this at once computes no faster."""

MOST_GPUS = 63
MOST_LAYERS = 512  # LLAMA_MAX_LAYERS of llama-hparams.h

MOST_FREQUENCY = 10**12
"""Models have up to 10 million."""

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

Kind = Literal["text", "texts", "integer", "number", "switch", "file", "duration", "biases"]

PROMPT = "Prompt"
MODELS = "Models"
DRAFTING = "Drafting"
SAMPLING = "Sampling"
MACHINE = "Machine"
OUTPUT = "Output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option: what it is called, what it takes, and what it does."""

    name: str
    """Its name in `Options`, and the key in profiles."""
    flags: str
    """Its spellings."""
    aliases: str = ""
    """Further spellings, of other tools and versions; shown by --help-all."""
    kind: Kind = "text"
    metavar: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    """A bound that is no value itself."""
    words: tuple[str, ...] = ()
    """Words that it takes; for a text, the only ones."""
    default: str = ""
    """Shown in the help, not applied."""
    help: str = ""
    group: str = OUTPUT
    common: bool = False
    """Shown by --help; the others only by --help-all."""
    setting: bool = True
    """Whether a profile may set it."""
    several: bool = False
    """Whether it takes a list, separated by commas."""

    @property
    def flag(self) -> str:
        """The spelling that errors and hints use: the first long one."""
        return next(flag for flag in self.flags.split() if flag.startswith("--"))

    def allows(self, value: float) -> bool:
        """Whether a number is within the bounds; NaN never is."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
        )

    @property
    def range(self) -> str:
        """The bounds in words."""
        if self.above is not None:
            return f"above {self.above}" + (f", at most {self.most}" if self.most else "")
        return f"{self.least} to {self.most}" if self.most is not None else f"{self.least} or more"


_METAVARS: dict[Kind, str] = {"integer": "N", "number": "X", "file": "FILE", "duration": "TIME"}


def option(flags: str, help: str, kind: Kind = "text", **more: Any) -> Option:
    """An option that is named by its first long flag, unless `name` is given."""
    long = next(flag for flag in flags.split() if flag.startswith("--"))
    usual = {"name": long[2:].replace("-", "_"), "metavar": _METAVARS.get(kind, "")}
    return Option(**usual | more, flags=flags, help=help, kind=kind)


_GROUPS = {
    PROMPT: (
        option("-sys --system", "System message.", aliases="--system-prompt", metavar="TEXT",
               common=True),
        option("-sysf --system-file", "Read the system message from a file.", "file",
               aliases="--system-prompt-file", setting=False),
        option("--raw", "Send the prompt without a chat template.", "switch"),
        option("--chat-template", "Template in place of the model's: Jinja, or the name of one of "
               "llama.cpp's built-in formats, such as chatml.", metavar="JINJA|NAME"),
        option("--chat-template-file", "Read the template from a file.", "file"),
        option("--chat-template-kwargs", "Variables for the template, a JSON object.",
               metavar="JSON"),
        option("-rea --reasoning", "Ask the template for reasoning, or for none.",
               metavar="on|off|auto", words=("on", "off", AUTO), default=AUTO),
    ),
    MODELS: (
        option("--profile", "Models and settings to start from.", metavar="NAME|FILE",
               default="smollm2", common=True, setting=False),
        option("-m --model", "Target model: a GGUF file or a reference.", metavar="REF",
               common=True, setting=False),
        option("-md --model-draft", "Draft model, best with the target's vocabulary; `auto` "
               "takes the best on this machine.", metavar="REF|auto", common=True, setting=False,
               aliases="--spec-draft-model --draft-model --speculative-model"),
        option("-hf --hf-repo", "Target from Hugging Face, as -m hf:OWNER/REPO:QUANT.",
               metavar="OWNER/REPO[:QUANT]", aliases="-hfr", setting=False),
        option("-hff --hf-file", "File of --hf-repo.", metavar="FILE", setting=False),
        option("-hfd --hf-repo-draft", "Draft model from Hugging Face.", setting=False,
               metavar="OWNER/REPO[:QUANT]", aliases="-hfrd --spec-draft-hf"),
        option("--offline", "Download nothing; use what is on this machine.", "switch",
               setting=False),
        option("-c --ctx-size", "Context in tokens; 0 is the model's own.", "integer", least=0,
               most=LARGEST, words=(AUTO,), default="at most 4096", common=True),
    ),
    DRAFTING: (
        option("--draft", "Maximum draft tokens per round; 0 disables the draft model.", "integer",
               name="draft_max", metavar="N|auto", least=0,
               most=MOST_DRAFTED, words=(AUTO,), default=AUTO,
               aliases="--draft-max --draft-n --spec-draft-n-max --draft-token-count "
               "--num-speculative-tokens", common=True),
        option("--draft-min", "Drop proposals shorter than this.", "integer", least=0,
               most=MOST_DRAFTED, default="0", aliases="--draft-n-min --spec-draft-n-min"),
        option("--draft-p-min", "Stop drafting at a token less probable than this.", "number",
               aliases="--spec-draft-p-min", metavar="P", least=0, most=1, default="0"),
        option("--strict-vocab", "Refuse a draft model with another vocabulary instead of "
               "translating.", "switch"),
        option("--ctx-size-draft", "Context of the draft model; of a longer text it sees the "
               "first tokens and the last.", "integer", least=64, most=LARGEST,
               default="what it was trained on"),
        option("--no-draft", "Do not use a draft model.", "switch", common=True, setting=False),
        option("--no-mtp", "Do not draft with the MTP layers in the target's file.", "switch"),
        option("--spec-type", "Drafters: draft, draft-mtp, draft-eagle3, draft-dflash, "
               "draft-dspark, suffix, grammar, ngram-simple, ngram-cache, none.",
               metavar="KIND,...", default=AUTO, common=True),
        option("--prediction", "Text that the answer is expected to repeat in part.", "file",
               common=True),
        option("--ngram", "Draft from repetitions in prompt and answer.", "switch"),
        option("--ngram-size", "Tokens that must match before n-grams are drafted.", "integer",
               aliases="--ngram-speculation-length --spec-ngram-simple-size-n --spec-ngram-size-n",
               least=1, most=64, default=str(NGRAM_SIZE)),
        option("--ngram-draft", "Maximum n-gram draft tokens per round.", "integer", least=1,
               most=512, default=str(NGRAM_DRAFT),
               aliases="--spec-ngram-simple-size-m --spec-ngram-size-m"),
        option("-lcd --lookup-cache", "N-gram counts to draft from and to add to, in llama.cpp's "
               "format; created if missing.", "file", aliases="--lookup-cache-dynamic"),
        option("--speculative-config", "Drafting in vLLM's form, as "
               '\'{"method": "ngram", "num_speculative_tokens": 4}\'.', metavar="JSON",
               setting=False),
        option("--exact", "Make texts independent of drafter and parallel width, bit by bit; "
               "slower.", "switch", common=True),
        option("--recalibrate", "Measure the costs of target and draft again.", "switch",
               setting=False),
    ),
    SAMPLING: (
        option("-n --predict", "Maximum tokens to generate; -1 is no limit.", "integer", least=-1,
               most=LARGEST, aliases="--n-predict --max-tokens", default="-1", common=True),
        option("--temp", "Temperature; 0 is greedy.", "number", aliases="--temperature", least=0,
               most=MOST_TEMPERATURE, default="0", common=True),
        option("--top-k", "Keep the k most probable tokens; 0 disables it.", "integer", least=0,
               most=LARGEST, default="40"),
        option("--top-p", "Keep the most probable tokens that sum to p; 1 disables it.", "number",
               metavar="P", above=0, most=1, default="0.95"),
        option("--min-p", "Drop tokens below this share of the most probable one; 0 disables it.",
               "number", metavar="P", least=0, most=1, default="0.05"),
        option("--repeat-penalty", "Divide the logits of recent tokens; 1 disables it.", "number",
               above=0, most=MOST_PENALTY, default="1"),
        option("--presence-penalty", "Subtract this from the logits of recent tokens.", "number",
               least=-MOST_PENALTY, most=MOST_PENALTY, default="0"),
        option("--frequency-penalty", "Subtract this once per recent occurrence.", "number",
               least=-MOST_PENALTY, most=MOST_PENALTY, default="0"),
        option("--repeat-last-n", "Number of recent tokens for the penalties.", "integer", least=0,
               most=LARGEST, default="64"),
        option("--samplers", "Samplers that take part, in their order: penalties; dry; "
               "top_n_sigma; top_k; typ_p; top_p; min_p; xtc; temperature; adaptive_p, last and "
               "only where it is named; or their letters.",
               metavar="NAME;...", aliases="--sampler-seq --sampling-seq", default="edskypmxt"),
        option("--typical-p", "Keep locally typical tokens that sum to p; 1 disables it.",
               "number", metavar="P", above=0, most=1, default="1", aliases="--typical"),
        option("--top-n-sigma", "Keep tokens within n standard deviations of the best; 0 or less "
               "disables it.", "number", least=-1, most=MOST_BIAS, default="0",
               aliases="--top-nsigma"),
        option("--xtc-probability", "How often XTC drops the most probable tokens; 0 disables it.",
               "number", metavar="P", least=0, most=1, default="0"),
        option("--xtc-threshold", "Probability from which XTC drops tokens, all but the last; "
               "above 0.5 disables it.", "number", metavar="P", least=0, most=1, default="0.1"),
        option("--dynatemp-range", "Temperature up to this far above and below, by entropy.",
               "number", least=0, most=MOST_TEMPERATURE, default="0"),
        option("--dynatemp-exp", "Exponent of the entropy for --dynatemp-range.", "number",
               least=0, most=MOST_PENALTY, default="1"),
        option("--dry-multiplier", "Penalty on continuing a repetition (DRY); 0 disables it.",
               "number", least=0, most=MOST_PENALTY, default="0"),
        option("--dry-base", "Base of that penalty, to the power of the repetition's length.",
               "number", least=0, most=MOST_PENALTY, default="1.75"),
        option("--dry-allowed-length", "Repetitions of this length have no penalty yet.",
               "integer", least=0, most=LARGEST, default="2"),
        option("--dry-penalty-last-n", "Number of recent tokens for DRY.", "integer", least=0,
               most=LARGEST, default="64"),
        option("--dry-sequence-breaker", "Text that ends a repetition, in place of line ends, "
               "colons, quotes and asterisks; `none` for none. May be repeated.", "texts",
               metavar="TEXT"),
        option("--mirostat", "Mirostat 1 or 2, which keeps the surprise of the text; 0 disables "
               "it. All other samplers but the temperature are left out.", "integer", least=0,
               most=2, default="0"),
        option("--mirostat-lr", "Learning rate of Mirostat.", "number", least=0, most=1,
               default="0.1"),
        option("--mirostat-ent", "Surprise that Mirostat aims at, in bits.", "number", least=0,
               most=MOST_PENALTY, default="5"),
        option("--adaptive-target", "Probability that adaptive_p aims at, where --samplers has it; "
               "below 0 it only draws.", "number", metavar="P", least=-1, most=1, default="-1"),
        option("--adaptive-decay", "How long adaptive_p remembers: about 1 / (1 - decay) tokens.",
               "number", metavar="P", least=0, most=0.99, default="0.9"),
        option("-s --seed", "Seed for sampling; -1 draws one.", "integer", least=-1,
               most=MOST_SEED, default="-1", common=True),
        option("-l --logit-bias", "Add to the logit of a token: 15043+1, 15043-inf. May be "
               "repeated.", "biases", metavar="ID(+|-)BIAS"),
        option("-j --json-schema", "Constrain the text to a JSON schema.", metavar="JSON|FILE",
               common=True),
        option("--grammar", "Constrain the text to a grammar: GBNF, or Lark after %llguidance.",
               metavar="GBNF|LARK"),
        option("--grammar-file", "Read the grammar from a file.", "file"),
        option("-r --stop", "End before this text. May be repeated.", "texts", metavar="TEXT",
               aliases="--reverse-prompt", common=True),
        option("--ignore-eos", "Ignore end-of-sequence and keep generating.", "switch"),
    ),
    MACHINE: (
        option("-t --threads", "CPU threads of the target.", "integer", metavar="N|auto", least=1,
               most=MOST_THREADS, words=(AUTO,), default="physical cores", common=True),
        option("-td --threads-draft", "CPU threads of the draft model.", "integer", least=1,
               most=MOST_THREADS, metavar="N|auto", aliases="--spec-draft-threads", words=(AUTO,),
               default="as the target"),
        option("-ngl --gpu-layers", "Target layers on the GPU.", "integer", metavar="N|all|auto",
               aliases="--n-gpu-layers", least=-1, most=LARGEST, words=(ALL, AUTO),
               default="all where a GPU is present", common=True),
        option("-ngld --gpu-layers-draft", "Draft model layers on the GPU.", "integer", least=-1,
               most=LARGEST, aliases="--n-gpu-layers-draft --spec-draft-ngl", metavar="N|all|auto",
               words=(ALL, AUTO), default="all where a GPU is present"),
        option("-dev --device", "Devices for the target; `none` is the CPU.", metavar="NAME,..."),
        option("-devd --device-draft", "Devices for the draft model.", metavar="NAME,...",
               aliases="--spec-draft-device"),
        option("--rpc", "RPC servers of llama.cpp, whose devices take layers of the target.",
               metavar="HOST:PORT,...", several=True, setting=False),
        option("--rpc-insecure", "Allow servers that are not on loopback, though RPC has no "
               "authentication.", "switch", setting=False),
        option("-ctk --cache-type-k", "Type of the target's K cache.", metavar="TYPE",
               words=CACHE_TYPES, default="f16"),
        option("-ctv --cache-type-v", "Type of the target's V cache.", metavar="TYPE",
               words=CACHE_TYPES, default="f16"),
        option("-ctkd --cache-type-k-draft", "Type of the draft's K cache.", metavar="TYPE",
               aliases="--spec-draft-type-k", words=CACHE_TYPES, default="f16"),
        option("-ctvd --cache-type-v-draft", "Type of the draft's V cache.", metavar="TYPE",
               aliases="--spec-draft-type-v", words=CACHE_TYPES, default="f16"),
        option("-tb --threads-batch", "CPU threads for the prompt and for verifying proposals.",
               "integer", metavar="N|auto", least=1, most=MOST_THREADS, words=(AUTO,),
               default="as --threads"),
        option("-tbd --threads-batch-draft", "The same for the draft model.", "integer",
               metavar="N|auto", least=1, most=MOST_THREADS, words=(AUTO,),
               default="as --threads-draft", aliases="--spec-draft-threads-batch"),
        option("-b --batch-size", "Most tokens in one call of llama.cpp.", "integer", least=32,
               most=MOST_BATCH, default="2048"),
        option("-ub --ubatch-size", "Most tokens that are computed at once.", "integer", least=1,
               most=MOST_BATCH, default="512"),
        option("-lm --load-mode", "How weights are loaded.", metavar="MODE", default=AUTO,
               words=(AUTO, "none", "mmap", "mlock", "mmap+mlock", "dio")),
        option("--numa", "Placement on several NUMA nodes.", metavar="TYPE",
               words=("distribute", "isolate", "numactl")),
        option("-sm --split-mode", "How the model is split between GPUs.", metavar="MODE",
               words=("none", "layer", "row", "tensor"), default="layer"),
        option("-ts --tensor-split", "Share of the model for each GPU: 3,1.", metavar="N,..."),
        option("-mg --main-gpu", "GPU for a model that is not split.", "integer", least=0,
               most=MOST_GPUS, default="0"),
        option("-ot --override-tensor", "Keep tensors whose names match in a buffer. May be "
               "repeated.", "texts", metavar="PATTERN=BUFFER,..."),
        option("-otd --override-tensor-draft", "The same for the draft model.", "texts",
               metavar="PATTERN=BUFFER,...", aliases="--spec-draft-override-tensor"),
        option("-cmoe --cpu-moe", "Keep the experts' weights in the CPU's memory.", "switch"),
        option("-cmoed --cpu-moe-draft", "The same for the draft model.", "switch",
               aliases="--spec-draft-cpu-moe"),
        option("-ncmoe --n-cpu-moe", "Keep the experts of the first N layers in the CPU's memory.",
               "integer", least=0, most=MOST_LAYERS),
        option("-ncmoed --n-cpu-moe-draft", "The same for the draft model.", "integer", least=0,
               most=MOST_LAYERS, aliases="--spec-draft-n-cpu-moe --spec-draft-ncmoe"),
        option("-ncffn --n-cpu-ffn", "Keep the feed-forward weights of the first N layers in the "
               "CPU's memory.", "integer", least=0, most=MOST_LAYERS),
        option("--override-kv", "Metadata of both models. May be repeated.", "texts",
               metavar="KEY=TYPE:VALUE,..."),
        option("--lora", "LoRA adapter for the target. May be repeated.", "texts",
               metavar="FILE,..."),
        option("--lora-scaled", "The same with a scale.", "texts", metavar="FILE:SCALE,..."),
        option("--lora-draft", "LoRA adapter for the draft model. May be repeated.", "texts",
               metavar="FILE,..."),
        option("--lora-scaled-draft", "The same with a scale.", "texts",
               metavar="FILE:SCALE,..."),
        option("--control-vector", "Control vector for the target. May be repeated.", "texts",
               metavar="FILE,..."),
        option("--control-vector-scaled", "The same with a scale.", "texts",
               metavar="FILE:SCALE,..."),
        option("--control-vector-layer-range", "First and last layer that control vectors act on.",
               metavar="START,END", default="all"),
        option("--rope-scaling", "How positions past the trained context are encoded.",
               metavar="TYPE", words=("none", "linear", "yarn")),
        option("--rope-scale", "Factor by which the context grows.", "number", above=0,
               most=LARGEST),
        option("--rope-freq-base", "Base frequency of the positions.", "number", above=0,
               most=MOST_FREQUENCY),
        option("--rope-freq-scale", "Factor on the frequencies; 0.5 doubles the context.",
               "number", above=0, most=LARGEST),
        option("--yarn-orig-ctx", "Context that the model was trained on.", "integer", least=0,
               most=LARGEST),
        option("--yarn-ext-factor", "Share of extrapolation in YaRN; -1 is the model's own.",
               "number", least=-1, most=MOST_PENALTY),
        option("--yarn-attn-factor", "Scale of attention in YaRN; -1 is the model's own.",
               "number", least=-1, most=MOST_PENALTY),
        option("--yarn-beta-slow", "Upper bound of corrections in YaRN; -1 is the model's own.",
               "number", least=-1, most=LARGEST),
        option("--yarn-beta-fast", "Lower bound of corrections in YaRN; -1 is the model's own.",
               "number", least=-1, most=LARGEST),
        option("-fa --flash-attn", "Flash attention.", metavar="on|off|auto",
               words=("on", "off", AUTO), default=AUTO),
    ),
    OUTPUT: (
        option("--json", "Print one JSON object.", "switch", common=True, setting=False),
        option("-q --quiet", "Print the result only: no progress, no notes, no summary.",
               "switch", common=True, setting=False),
        option("--verbose-prompt", "Show the prompt, as the template has made it, and its tokens.",
               "switch", setting=False),
        option("--reasoning-format", "With deepseek, the same as auto, reasoning is a field of its "
               "own: reasoning_content in --json, and in the messages of a conversation.",
               metavar="none|deepseek|auto", words=("none", "deepseek", AUTO), default="none",
               setting=False),
        option("-v --verbose", "Show llama.cpp's log on stderr.", "switch",
               aliases="--log-verbose", setting=False),
        option("--inspect", "Show every token with its source, confidence and rank.", "switch",
               common=True, setting=False),
        option("--compare", "Generate with and without drafting in turns, side by side.", "switch",
               common=True, setting=False),
        option("--legend", "Explain the colours and figures of an answer.", "switch",
               setting=False),
        option("--explain", "Show costs, acceptance and decisions of `--draft auto`.", "switch",
               setting=False),
        option("--check", "Run again without speculation and compare the texts.", "switch",
               common=True, setting=False),
        option("--budget", "Time for the search: 90s, 5m, 1h30m.", "duration", common=True,
               setting=False),
        option("--timeout", "Stop an answer that takes longer; it counts as failed.", "duration",
               common=True, setting=False),
    ),
}  # fmt: skip

OPTIONS = {one.name: replace(one, group=group) for group in _GROUPS for one in _GROUPS[group]}

GENERATION = tuple(name for name, one in OPTIONS.items() if one.group != OUTPUT)
"""The options of a command that generates text."""


def closest(name: str) -> str | None:
    """The name of the setting that a misspelt one may have meant; other spellings count too."""
    spelt = {
        flag.lstrip("-").replace("-", "_"): option.name
        for option in OPTIONS.values()
        if option.setting
        for flag in f"{option.flags} {option.aliases}".split()
    } | {option.name: option.name for option in OPTIONS.values() if option.setting}
    close = difflib.get_close_matches(name, spelt, n=1, cutoff=0.5)
    return spelt[close[0]] if close else None
