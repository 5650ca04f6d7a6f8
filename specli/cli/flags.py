"""Every shared flag, declared once, under llama.cpp's names and the names of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PAIR = "The pair"
DRAFTING = "Drafting"
SAMPLING = "Sampling"
MACHINE = "Machine"
OUTPUT = "Output"

System = Annotated[
    str | None,
    typer.Option("--system", "-sys", "--system-prompt", metavar="TEXT", help="System message."),
]
Raw = Annotated[
    bool, typer.Option("--raw", help="Send the prompt as it is, without a chat template.")
]

Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME|FILE",
        help="Settings to start from. Default: smollm2.",
        rich_help_panel=PAIR,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="REF",
        help="Target model: a GGUF file or a reference.",
        rich_help_panel=PAIR,
    ),
]
ModelDraft = Annotated[
    str | None,
    typer.Option(
        "-md",
        "--model-draft",
        "--spec-draft-model",
        "--draft-model",
        "--speculative-model",
        metavar="REF",
        help="Draft model with the target's vocabulary; auto takes one that is here.",
        rich_help_panel=PAIR,
    ),
]
ContextSize = Annotated[
    int | None,
    typer.Option(
        "-c",
        "--ctx-size",
        min=0,
        help="Context in tokens; 0 takes the model's own. Default: 4096 at most.",
        rich_help_panel=PAIR,
    ),
]

DraftMax = Annotated[
    str | None,
    typer.Option(
        "--draft",
        "--draft-max",
        "--draft-n",
        "--spec-draft-n-max",
        "--draft-token-count",
        "--num-speculative-tokens",
        metavar="N|auto",
        help="Most tokens the draft model proposes a round. Default: auto.",
        rich_help_panel=DRAFTING,
    ),
]
DraftMin = Annotated[
    int | None,
    typer.Option(
        "--draft-min",
        "--draft-n-min",
        "--spec-draft-n-min",
        min=0,
        help="Drop proposals shorter than this.",
        rich_help_panel=DRAFTING,
    ),
]
DraftPMin = Annotated[
    float | None,
    typer.Option(
        "--draft-p-min",
        "--spec-draft-p-min",
        min=0,
        max=1,
        help="Stop drafting at a token less probable than this.",
        rich_help_panel=DRAFTING,
    ),
]
Ngram = Annotated[
    bool | None,
    typer.Option(
        "--ngram/--no-ngram",
        help="Draft from repetitions in prompt and answer.",
        rich_help_panel=DRAFTING,
    ),
]
NgramSize = Annotated[
    int | None,
    typer.Option(
        "--ngram-size",
        "--ngram-speculation-length",
        "--spec-ngram-simple-size-n",
        min=1,
        max=64,
        help="Tokens that must repeat before n-gram drafting proposes.",
        rich_help_panel=DRAFTING,
    ),
]
NgramDraft = Annotated[
    int | None,
    typer.Option(
        "--ngram-draft",
        "--spec-ngram-simple-size-m",
        min=1,
        max=512,
        help="Most tokens n-gram drafting proposes per round.",
        rich_help_panel=DRAFTING,
    ),
]
NoDraft = Annotated[
    bool,
    typer.Option(
        "--no-draft",
        help="Do not use a draft model, whatever the profile says.",
        rich_help_panel=DRAFTING,
    ),
]

SpecType = Annotated[
    str | None,
    typer.Option(
        "--spec-type",
        metavar="KIND,...",
        help="Who drafts: draft, suffix, ngram-simple, ngram-map-k, ngram-map-k4v, ngram-mod, "
        "ngram-cache, none. Default: auto.",
        rich_help_panel=DRAFTING,
    ),
]
Prediction = Annotated[
    Path | None,
    typer.Option(
        "--prediction",
        metavar="FILE",
        help="Text that the answer will repeat in part, drafted from first.",
        rich_help_panel=DRAFTING,
    ),
]
LookupCache = Annotated[
    Path | None,
    typer.Option(
        "--lookup-cache",
        "-lcd",
        "--lookup-cache-dynamic",
        metavar="FILE",
        help="N-gram counts to draft from, kept in llama.cpp's format; made if missing.",
        rich_help_panel=DRAFTING,
    ),
]
LookupCacheStatic = Annotated[
    Path | None,
    typer.Option(
        "--lookup-cache-static",
        "-lcs",
        metavar="FILE",
        help="N-gram counts of a large text, in llama.cpp's format; never changed.",
        rich_help_panel=DRAFTING,
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Show costs, acceptance and decisions behind `--draft auto`.",
        rich_help_panel=OUTPUT,
    ),
]
Recalibrate = Annotated[
    bool,
    typer.Option(
        "--recalibrate",
        help="Measure again what target and draft cost on this machine.",
        rich_help_panel=DRAFTING,
    ),
]

Predict = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--predict",
        "--n-predict",
        "--max-tokens",
        min=-1,
        help="Most tokens to generate; -1 until the model ends or the context is full.",
        rich_help_panel=SAMPLING,
    ),
]
Temp = Annotated[
    float | None,
    typer.Option(
        "--temp", "--temperature", help="Temperature. Default: 0, greedy.", rich_help_panel=SAMPLING
    ),
]
TopK = Annotated[
    int | None, typer.Option("--top-k", help="Keep the k best; 0 is off.", rich_help_panel=SAMPLING)
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", help="Keep the best that reach p; 1 is off.", rich_help_panel=SAMPLING),
]
MinP = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        help="Drop what has less than this share of the best's probability.",
        rich_help_panel=SAMPLING,
    ),
]
RepeatPenalty = Annotated[
    float | None,
    typer.Option(
        "--repeat-penalty",
        help="Divide logits of recent tokens; 1 is off.",
        rich_help_panel=SAMPLING,
    ),
]
PresencePenalty = Annotated[
    float | None,
    typer.Option(
        "--presence-penalty",
        help="Subtract from logits of recent tokens.",
        rich_help_panel=SAMPLING,
    ),
]
FrequencyPenalty = Annotated[
    float | None,
    typer.Option(
        "--frequency-penalty", help="Subtract once per recent occurrence.", rich_help_panel=SAMPLING
    ),
]
RepeatLastN = Annotated[
    int | None,
    typer.Option(
        "--repeat-last-n",
        min=0,
        help="Tokens that the penalties look back at.",
        rich_help_panel=SAMPLING,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "-s",
        "--seed",
        min=-1,
        help="Seed of the noise; -1 draws one and reports it.",
        rich_help_panel=SAMPLING,
    ),
]
LogitBias = Annotated[
    list[str] | None,
    typer.Option(
        "-l",
        "--logit-bias",
        metavar="ID(+|-)BIAS",
        help="Add to the logit of a token, as in 15043+1 or 15043-inf.",
        rich_help_panel=SAMPLING,
    ),
]
Grammar = Annotated[
    str | None,
    typer.Option(
        "--grammar",
        metavar="GBNF",
        help="Constrain the text to a grammar.",
        rich_help_panel=SAMPLING,
    ),
]
GrammarFile = Annotated[
    Path | None,
    typer.Option(
        "--grammar-file",
        metavar="FILE",
        help="The same, read from a file.",
        rich_help_panel=SAMPLING,
    ),
]
JsonSchema = Annotated[
    str | None,
    typer.Option(
        "-j",
        "--json-schema",
        metavar="JSON|FILE",
        help="Constrain the text to a JSON schema.",
        rich_help_panel=SAMPLING,
    ),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        "-r",
        "--reverse-prompt",
        metavar="TEXT",
        help="End before this text; may be repeated.",
        rich_help_panel=SAMPLING,
    ),
]
IgnoreEos = Annotated[
    bool,
    typer.Option(
        "--ignore-eos", help="Go on when the model wants to end.", rich_help_panel=SAMPLING
    ),
]

Threads = Annotated[
    int | None,
    typer.Option(
        "-t",
        "--threads",
        min=1,
        help="CPU threads of the target. Default: physical cores.",
        rich_help_panel=MACHINE,
    ),
]
ThreadsDraft = Annotated[
    int | None,
    typer.Option(
        "-td",
        "--threads-draft",
        "--spec-draft-threads",
        min=1,
        help="CPU threads of the draft. Default: as the target.",
        rich_help_panel=MACHINE,
    ),
]
GpuLayers = Annotated[
    str | None,
    typer.Option(
        "-ngl",
        "--gpu-layers",
        "--n-gpu-layers",
        metavar="N|all|auto",
        help="Target layers on the GPU. Default: all where llama.cpp has one.",
        rich_help_panel=MACHINE,
    ),
]
GpuLayersDraft = Annotated[
    str | None,
    typer.Option(
        "-ngld",
        "--gpu-layers-draft",
        "--n-gpu-layers-draft",
        "--spec-draft-ngl",
        metavar="N|all|auto",
        help="The same for the draft.",
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "-dev",
        "--device",
        metavar="NAME,...",
        help="Devices for the target; `none` is the CPU.",
        rich_help_panel=MACHINE,
    ),
]
DeviceDraft = Annotated[
    str | None,
    typer.Option(
        "-devd",
        "--device-draft",
        "--spec-draft-device",
        metavar="NAME,...",
        help="Devices for the draft.",
        rich_help_panel=MACHINE,
    ),
]
CacheTypeK = Annotated[
    str | None,
    typer.Option(
        "-ctk",
        "--cache-type-k",
        metavar="TYPE",
        help="Type of the target's K cache. Default: f16.",
        rich_help_panel=MACHINE,
    ),
]
CacheTypeV = Annotated[
    str | None,
    typer.Option(
        "-ctv",
        "--cache-type-v",
        metavar="TYPE",
        help="Type of the target's V cache.",
        rich_help_panel=MACHINE,
    ),
]
CacheTypeKDraft = Annotated[
    str | None,
    typer.Option(
        "-ctkd",
        "--cache-type-k-draft",
        "--spec-draft-type-k",
        metavar="TYPE",
        help="Type of the draft's K cache.",
        rich_help_panel=MACHINE,
    ),
]
CacheTypeVDraft = Annotated[
    str | None,
    typer.Option(
        "-ctvd",
        "--cache-type-v-draft",
        "--spec-draft-type-v",
        metavar="TYPE",
        help="Type of the draft's V cache.",
        rich_help_panel=MACHINE,
    ),
]
FlashAttn = Annotated[
    str | None,
    typer.Option(
        "-fa",
        "--flash-attn",
        metavar="on|off|auto",
        help="Flash attention. Default: auto.",
        rich_help_panel=MACHINE,
    ),
]

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object instead of text.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", help="Only the text: no progress, no summary.", rich_help_panel=OUTPUT
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="Show llama.cpp's log on stderr.", rich_help_panel=OUTPUT),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Run again without speculation and compare the texts.",
        rich_help_panel=OUTPUT,
    ),
]
