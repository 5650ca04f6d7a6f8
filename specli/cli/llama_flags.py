"""What specli does with each flag of llama.cpp, so that its commands can be pasted.

A flag that a command has under the same name is simply taken. Of the others in llama_flags.tsv,
some are written otherwise here, some have no effect and are left out with a note, and the rest are
refused in one sentence. tests/cli/test_llama_flags.py holds that every flag has one of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from specli.errors import UsageError

_TABLE = Path(__file__).with_suffix(".tsv")

REWRITTEN: Mapping[str, tuple[str, ...]] = {
    "-jf": ("--json-schema",),
    "--json-schema-file": ("--json-schema",),
    "-no-cnv": ("--raw",),
    "--no-conversation": ("--raw",),
    "--mtp": ("--spec-type", "draft-mtp"),
    "--eagle3": ("--spec-type", "draft-eagle3"),
    "--dflash": ("--spec-type", "draft-dflash"),
    "--spec-default": ("--spec-type", "suffix"),
    # Of older versions, before --load-mode.
    "--mlock": ("--load-mode", "mmap+mlock"),
    "--no-mmap": ("--load-mode", "none"),
    "-dio": ("--load-mode", "dio"),
    "--direct-io": ("--load-mode", "dio"),
}
"""Flags whose value, if any, is taken by another flag."""

_ANOTHER_DRAFTER = "it belongs to a drafter that suffix drafting replaces"
_ONE_ANSWER = "specli run answers one prompt and ends"
_TERMINAL = "specli decides by the terminal what it prints"
_THREADS = "the system places the threads"
_SERVER = "specli run starts no server"

IGNORED: Mapping[str, str] = {
    _ANOTHER_DRAFTER: """
        -lcs --spec-ngram-mod-n-min --spec-ngram-mod-n-max --spec-ngram-mod-n-match
        --spec-ngram-map-k-size-n --spec-ngram-map-k-size-m --spec-ngram-map-k-min-hits
        --spec-ngram-map-k4v-size-n --spec-ngram-map-k4v-size-m --spec-ngram-map-k4v-min-hits
        --spec-ngram-simple-min-hits --spec-ngram-min-hits""",
    _ONE_ANSWER: "-st -cnv -mli",
    _TERMINAL: "-co --simple-io --display-prompt --show-timings --perf -ptc",
    _THREADS: """
        --prio --prio-batch --poll --poll-batch --spec-draft-prio --spec-draft-prio-batch
        --spec-draft-poll --spec-draft-poll-batch""",
    "chat templates are always rendered with Jinja": "--jinja",
    "llama.cpp's log is kept for errors, and shown with --verbose": """
        --log-disable --log-colors --log-prefix --log-timestamps --log-jsonl -lv""",
    "specli prints reasoning as the model writes it": "--reasoning-preserve --skip-chat-parsing",
    "specli warms the models up by itself": "--warmup",
    "specli checks before loading that caches and weights fit, and says what does not": """
        -fit -fitt -fitc""",
    "the draft samples where its logits are": "-bs --spec-draft-backend-sampling",
    "caches are always unified, of full size and never shifted": "-kvu --swa-full --context-shift",
    "llama.cpp itself has taken it out": "-dt",
    "specli saves the states that a rollback needs": "-ctxcp -cms",
    "drafts are single sequences, not trees": "--spec-draft-p-split",
    _SERVER: """
        -cram -cb -sps --kv-unified-per-slot --cache-idle-slots --cache-prompt --cache-reuse
        --metrics --props --slots --slot-save-path --ui --threads-http --reuse-port -a --tags
        --sse-ping-interval --sleep-idle-seconds --prefill-assistant""",
    "specli has no images, audio or video": "--mmproj-auto --mmproj-offload",
    "reading weights on demand is left to llama.cpp": "-lzm",
    "a file's hashes and numbers are checked by specli inspect --verify": "--check-tensors",
    "a full context ends the answer": "--keep",
}
"""Flags without effect, by the reason that the note gives; named by one of their spellings."""

ELSEWHERE: Mapping[str, str] = {
    "--reasoning-format": "specli run --json, chat and serve tell reasoning from answers",
}
"""Flags of some commands that are without effect in the others, each with its reason."""

REFUSED: Mapping[str, str] = {
    "specli has no images, audio or video: use llama-mtmd-cli or llama-server": """
        -mm -mmu -mmdev --image --image-min-tokens --image-max-tokens --mtmd-batch-max-tokens
        --video-fps --video-timestamp-interval --video-ffmpeg-dir --media-path
        --vision-gemma-4b-default --vision-gemma-12b-default --tts-lang --tts-speaker-file""",
    "specli run starts no server: use specli serve": """
        --host --port --path --api-prefix --api-key --api-key-file --ssl-key-file --ssl-cert-file
        --cors-origins --cors-methods --cors-headers --cors-credentials --ui-config
        --ui-config-file --ui-mcp-proxy --models-dir --models-preset --models-max
        --models-autoload""",
    "specli runs no tools: use llama-server": """
        --tools --tools-runtime --mcp-servers-config --mcp-servers-json -ag""",
    "specli run answers one prompt: specli batch answers many with -np": "-np -ns",
    "an answer is limited by -n; specli batch takes --timeout 60s": "-to",
    "specli runs the model itself: give it with -m": "--server-base",
    "specli run has no dialogue: give the prompt, or pipe it in": "-i -if",
    "prompts are marked by the chat template: use -sys, or --raw with the whole text": """
        --in-prefix --in-suffix --in-prefix-bos --spm-infill""",
    "special tokens are never printed: --verbose-prompt shows those of the prompt": "-sp",
    "a prompt is text in UTF-8: use -f": "-bf",
    "give the files to specli batch": "--in-file",
    "specli keeps no file of a prompt's cache: batch and serve share prefixes in memory": """
        --prompt-cache --prompt-cache-all --prompt-cache-ro""",
    "specli has no embeddings or ranking: use llama-embedding or llama-server": """
        --embedding --rerank --pooling --attention --embd-normalize --embd-output-format
        --embd-separator --cls-separator --embd-gemma-default""",
    "specli measures no perplexity: use llama-perplexity": """
        --chunks --hellaswag --hellaswag-tasks --winogrande --winogrande-tasks --multiple-choice
        --multiple-choice-tasks --kl-divergence --save-all-logits --ppl-stride --ppl-output-type
        --ppl""",
    "it belongs to another program of llama.cpp: use llama-imatrix": """
        -ofreq --output-format --save-frequency --process-output --chunk --show-statistics
        --parse-special""",
    "it belongs to another program of llama.cpp: use llama-tokenize": """
        --ids --stdin --no-bos --no-parse-special --show-count""",
    "it belongs to another program of llama.cpp: use llama-batched-bench, or specli bench": """
        -pps -tgs -npp -ntg -npl""",
    "it belongs to another program of llama.cpp: use llama-retrieval or llama-passkey": """
        --context-file --chunk-size --chunk-separator --junk --pos""",
    "it belongs to another program of llama.cpp: use llama-cvector-generator": """
        --positive-file --negative-file --pca-batch --pca-iter --method""",
    "diffusion models draft nothing: use llama-diffusion-cli": """
        --diffusion-steps --diffusion-visual --diffusion-eps --diffusion-algorithm
        --diffusion-alg-temp --diffusion-block-length --diffusion-cfg-scale
        --diffusion-add-gumbel-noise""",
    "specli trains no models: use llama-finetune": """
        -lr -lr-min -decay-epochs -wd -val-split -epochs -opt""",
    "it belongs to llama.cpp's own tests": """
        --save-logits --logits-output-dir --tensor-filter --spec-synth-len --spec-synth-rates""",
    "name the model with -m hf:OWNER/REPO:QUANT": """
        --fim-qwen-1.5b-default --fim-qwen-3b-default --fim-qwen-7b-default --fim-qwen-7b-spec
        --fim-qwen-14b-spec --fim-qwen-30b-default --gpt-oss-20b-default --gpt-oss-120b-default""",
    "specli downloads from Hugging Face only: use -m hf:OWNER/REPO:QUANT, or a file": "-mu -dr",
    "a token on the command line can be read by everyone here: set HF_TOKEN": "-hft",
    "group attention is not supported: use --rope-scaling yarn": "-gan -gaw",
    "caches stay with the layers: choose layers with -ngl, devices with -dev": "-kvo",
    "specli itself tries which weights can be repacked: drop it": "--repack --no-host --op-offload",
    "threads are not bound to cores here: start specli with taskset": """
        -C -Cr --cpu-strict -Cb -Crb --cpu-strict-batch --spec-draft-cpu-mask
        --spec-draft-cpu-range --spec-draft-cpu-strict --spec-draft-cpu-mask-batch
        --spec-draft-cpu-range-batch --spec-draft-cpu-strict-batch""",
    "use specli doctor": "--list-devices",
    "use specli models": "-cl",
    "use specli --install-completion": "--completion-bash",
    "specli checks before loading what fits, and says so: drop it": "-fitp",
    "specli prints the answer on stdout: use > FILE, or specli batch -o FILE": "-o",
    "specli writes no log files: use --verbose 2> FILE": "--log-file --log-prompts-dir",
    "the length of reasoning is not limited apart: use -n, or --reasoning off": """
        --reasoning-budget --reasoning-budget-message --reasoning-effort""",
    "adapters are loaded and applied together: use --lora": "--lora-init-without-apply",
}
"""Flags that are refused, by the sentence that says so."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A line of the table."""

    spellings: tuple[str, ...]
    opposite: tuple[str, ...]
    kind: str
    """What it takes: none, integer, text, or two values."""
    env: str
    """Its environment variable; empty without one."""

    @property
    def every(self) -> tuple[str, ...]:
        return self.spellings + self.opposite

    @property
    def values(self) -> int:
        """How many words follow it."""
        return {"none": 0, "two": 2}.get(self.kind, 1)


@cache
def flags() -> tuple[Flag, ...]:
    """Every flag of llama.cpp, in its order."""
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return tuple(
        Flag(_words(spellings), _words(opposite), kind, env.strip("-"))
        for spellings, opposite, kind, env in rows
    )


def _words(column: str) -> tuple[str, ...]:
    return () if column == "-" else tuple(column.split())


@cache
def by_spelling() -> Mapping[str, Flag]:
    return {spelling: flag for flag in flags() for spelling in flag.every}


@cache
def reasons(which: str) -> Mapping[str, str]:
    """Of `ignored` or `refused`, the reason for each spelling of each flag."""
    table = IGNORED if which == "ignored" else REFUSED
    named = ((name, reason) for reason, names in table.items() for name in names.split())
    return {spelling: reason for name, reason in named for spelling in by_spelling()[name].every}


@cache
def _left_out() -> Mapping[str, str]:
    """Flags that a command which does not have them leaves out, and why."""
    return {**reasons("ignored"), **ELSEWHERE}


def known_spellings(parameters: Iterable[Any]) -> dict[str, bool]:
    """The spellings of a command's own options, and whether a value follows."""
    return {
        spelling: not getattr(parameter, "is_flag", True)
        for parameter in parameters
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }


def translated(
    arguments: Iterable[str], known: Mapping[str, bool], command: str, *, refuse: bool = True
) -> tuple[list[str], list[str]]:
    """A command line with llama.cpp's flags as specli has them, and notes on those left out.

    `known` says of each spelling of the command's own options whether a value follows. Raises
    UsageError for a flag that is refused, unless that is not wanted, and for a word such as -rea
    that no option is called.
    """
    taken: list[str] = []
    unused: dict[str, list[str]] = {}
    words = iter(arguments)
    for word in words:
        if word == "--":
            taken += [word, *words]
            break
        name, equals, value = _parts(word)
        if not word.startswith("-") or word == "-" or _is_number(word):
            taken.append(word)
        elif name in known:
            taken.append(name + equals + value)
            if known[name] and not equals:
                taken += _joined(words, _values(name))
        elif name in REWRITTEN:
            taken += [*REWRITTEN[name], *([value] if equals else [])]
            taken += _next(words, _values(name) - bool(equals))
        elif name in _left_out() or (name in reasons("refused") and not refuse):
            why = _left_out().get(name) or reasons("refused")[name]
            unused.setdefault(why, []).append(name)
            _next(words, _values(name) - bool(equals))
        elif name in reasons("refused"):
            raise UsageError(f"{name} is not supported", hint=reasons("refused")[name])
        elif name in by_spelling():
            raise UsageError(f"{command} has no {name}", hint="specli run has it")
        else:
            _require_no_cluster(word, known)
            taken.append(word)
    return taken, [f"{', '.join(names)} has no effect: {why}" for why, names in unused.items()]


def _parts(word: str) -> tuple[str, str, str]:
    """The name, an equals sign and the value; llama.cpp takes underscores for hyphens."""
    if not word.startswith("--"):
        return word, "", ""
    name, equals, value = word.partition("=")
    return name.replace("_", "-"), equals, value


def _values(name: str) -> int:
    """How many words follow a flag; the older ones here are switches."""
    return by_spelling()[name].values if name in by_spelling() else 0


def _next(words: Iterator[str], count: int) -> list[str]:
    return list(islice(words, count))


def _joined(words: Iterator[str], count: int) -> list[str]:
    """The value of an option; of two words, which llama.cpp takes, with a comma between."""
    value = _next(words, 1)
    if count > 1 and value and "," not in value[0]:
        value = [",".join(value + _next(words, count - 1))]
    return value


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-[\d.]+", word) is not None


def _require_no_cluster(word: str, known: Mapping[str, bool]) -> None:
    """Raises UsageError for a short option with more behind it: -rea is not -r ea."""
    if word.startswith("--") or len(word) == 2:
        return
    apart = f"write {word[:2]} {word[2:]}" if known.get(word[:2]) else None
    raise UsageError(f"no such option: {word}", hint=apart and f"{apart} if that is meant")
