"""Profiles from elsewhere: each is read, or refused with its file and a sentence."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

from specli.errors import UsageError
from specli.option_table import OPTIONS
from specli.profiles import profile_files, read_profile
from tests.hostile.entry import Entry, require_sentence

VALUES = (
    *(
        "1",
        "-1",
        "0",
        "1.5",
        "1e999",
        ".nan",
        ".inf",
        "9" * 50,
        "9" * 5000,
        "true",
        "null",
        "~",
        "''",
    ),
    *(
        "[]",
        "{}",
        "[[1]]",
        "{a: {b: c}}",
        "auto",
        "all",
        "2024-13-45",
        "0o777",
        "0x1f",
        "1:30",
        "=",
        "!!",
    ),
    *(
        "!!python/object/apply:os.system [id]",
        "&a [*a]",
        "*nothing",
        "|",
        ">-",
        "\x1b[31m",
        "\udcff",
        "\0",
    ),
    *(
        "[" * 500,
        "'\\x00'",
        "!!binary aGk=",
        "!!set {a}",
        "? x",
        "- x",
        "<<: 5",
        "#",
        "%TAG",
        "---",
        "...",
    ),
)
BASE = "name: model\ndescription: One\ntarget: big.gguf\ndefaults:\n  temp: 0.5\n"


@cache
def _shipped() -> tuple[str, ...]:
    return tuple(path.read_text() for path in profile_files().values())


def make(rng: random.Random) -> bytes:
    lines = rng.choice((BASE, rng.choice(_shipped() or (BASE,)))).splitlines()
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        key, value = (
            rng.choice([*OPTIONS, "name", "target", "draft", "a", "<<"]),
            rng.choice(VALUES),
        )
        line = rng.choice(
            (f"  {key}: {value}", f"{key}: {value}", value, f"{key}:\n  from: {value}")
        )
        lines.insert(rng.randrange(len(lines) + 1), line)
    content = bytearray("\n".join(lines).encode("utf-8", "surrogateescape"))
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def check(content: bytes, folder: Path) -> str:
    path = folder / "model.yaml"
    path.write_bytes(content)
    try:
        read_profile(path).defaults.given()
    except UsageError as error:
        require_sentence(error.message)
        return "refused"
    return "read"


_BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [
        f"{b}: &{b} [{', '.join(9 * ['*' + a])}]"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ]
)

ENTRY = Entry(
    "profiles",
    make,
    check,
    seeds=(
        (BASE + _BOMB).encode(),
        (BASE + "  threads: 1" + 20 * "0").encode(),
        (BASE + "<<: {from: 1}").encode(),
        b"[" * 100_000,
        b"\xff\xfe",
        b"",
    ),
)
