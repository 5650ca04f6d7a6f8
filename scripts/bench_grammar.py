"""What the drafter `grammar` saves where a grammar shapes the answers: twenty requests of
scripts/grammar_set.yaml to `specli serve`, in turns with all drafters and with all but it.

Printed are, for each request, tokens per second both ways, and at the end one line of JSON: how
many answers are valid, how many texts are the same both ways, what the drafter proposed and how
much of it was accepted, and the ratio of tokens per second (above 1: the drafter helps; geometric
mean of the requests' medians, with the lowest and highest of single runs over all requests).

    python scripts/bench_grammar.py [--runs 3] -- -m target.gguf -md draft.gguf
"""

from __future__ import annotations

import argparse
import json
import math
import re
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import yaml
from stress_server import Server

SET = Path(__file__).with_name("grammar_set.yaml")
MOST = 200


def body_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The chat completion that an entry of the set asks for."""
    message = {"role": "user", "content": entry["prompt"]}
    body: dict[str, Any] = {"messages": [message], "max_tokens": MOST, "temperature": 0}
    if "tools" in entry:
        chosen = {"tool_choice": "required", "parallel_tool_calls": False}
        return {**body, "tools": entry["tools"], **chosen}
    form = {"name": entry["name"], "schema": entry["schema"], "strict": True}
    return {**body, "response_format": {"type": "json_schema", "json_schema": form}}


def require_valid(entry: dict[str, Any], answer: dict[str, Any]) -> str:
    """The text of an answer. Raises ValueError or jsonschema.ValidationError for a wrong one."""
    message = answer["choices"][0]["message"]
    if "schema" in entry:
        jsonschema.validate(json.loads(message["content"]), entry["schema"])
        return str(message["content"])
    (call,) = message["tool_calls"]
    functions = {tool["function"]["name"]: tool["function"] for tool in entry["tools"]}
    function = functions[call["function"]["name"]]
    schema = function.get("parameters", {"type": "object", "maxProperties": 0})
    jsonschema.validate(json.loads(call["function"]["arguments"]), schema)
    return json.dumps(call["function"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("serve", nargs="*", help="flags of specli serve")
    given = parser.parse_args()
    entries = yaml.safe_load(SET.read_text())
    server = Server(given.serve)
    # Where a time limit ends this script, the server ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        told = measured(server, entries, given.runs)
    finally:
        server.process.terminate()
        server.process.wait()
    print(json.dumps(told))
    if told["valid"] < told["answers"] or told["accepted"] < told["drafted"]:
        sys.exit(1)


def measured(server: Server, entries: list[dict[str, Any]], runs: int) -> dict[str, Any]:
    names = httpx.get(server.url + "/props").json()["drafters"]
    others: dict[str, Any] = {"drafters": [name for name in names if name != "grammar"]}
    ways = {"with": True, "without": others if others["drafters"] else False}
    speeds: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    texts: dict[str, set[str]] = {}
    valid = answers = 0
    for run in range(-1, runs):
        # What comes first is not counted: costs settle.
        for number, entry in enumerate(entries if run >= 0 else entries[:3]):
            for way in sorted(ways, reverse=(run + number) % 2 == 1):
                body = {**body_of(entry), "speculative": ways[way]}
                answer = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=120)
                answer.raise_for_status()
                answers += 1
                try:
                    texts.setdefault(entry["name"], set()).add(require_valid(entry, answer.json()))
                    valid += 1
                except (ValueError, jsonschema.ValidationError) as error:
                    print(f"{entry['name']}: not valid: {error}")
                if run >= 0:
                    speed = answer.json()["timings"]["predicted_per_second"]
                    speeds[way].setdefault(entry["name"], []).append(speed)
        if run >= 0:
            print(f"run {run + 1}: {_ratio(speeds, [run]):.3f}", flush=True)
    for entry in entries:
        with_, without = (statistics.median(speeds[way][entry["name"]]) for way in ways)
        print(f"{entry['name']:20} {with_:7.1f} {without:7.1f} tok/s  {with_ / without:.2f}")
    single = [_ratio(speeds, [run]) for run in range(runs)]
    drafted, accepted = counted(server.url)
    return {
        "drafters": names, "answers": answers, "valid": valid,
        "same_texts": sum(len(found) == 1 for found in texts.values()),
        "drafted": drafted, "accepted": accepted,
        "ratio": round(_ratio(speeds, range(runs)), 3),
        "single": [round(min(single), 3), round(max(single), 3)],
    }  # fmt: skip


def _ratio(speeds: dict[str, dict[str, list[float]]], runs: Any) -> float:
    """The geometric mean over the requests of how much faster they are with the drafter."""
    logs = [
        math.log(statistics.median(found[run] for run in runs))
        - math.log(statistics.median(speeds["without"][name][run] for run in runs))
        for name, found in speeds["with"].items()
    ]
    return math.exp(statistics.fmean(logs))


def counted(url: str) -> tuple[int, int]:
    """What a server's drafter `grammar` has proposed so far, and how much of it was accepted."""
    text = httpx.get(url + "/metrics").text
    both = [
        re.search(rf'specli:{what}_tokens_total{{drafter="grammar"}} (\d+)', text)
        for what in ("draft", "accepted")
    ]
    drafted, accepted = (int(found[1]) if found else 0 for found in both)
    return drafted, accepted


if __name__ == "__main__":
    main()
