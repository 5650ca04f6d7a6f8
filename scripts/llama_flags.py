"""Writes specli/cli/llama_flags.tsv: the flags of llama.cpp, read from its common/arg.cpp.

python scripts/llama_flags.py SOURCE            write it
python scripts/llama_flags.py SOURCE --check    fail where it is not what would be written

SOURCE is an unpacked source archive of llama-cpp-python, or llama.cpp's own folder. Facts only are
taken: spellings, kinds of values and environment variables. What specli does with each flag is in
specli/cli/llama_flags.py, and a test holds the two together.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent.parent / "specli" / "cli" / "llama_flags.tsv"
HEAD = """\
# Flags of llama.cpp, written by scripts/llama_flags.py from common/arg.cpp of {version}.
# Spellings, spellings of the opposite, what the flag takes, environment variable.
"""

_STRING = r'"(?:[^"\\]|\\.)*"'
_LIST = rf"\{{\s*({_STRING}(?:\s*,\s*{_STRING})*\s*,?)\s*\}}"
_SPELLINGS = re.compile(rf"common_arg\((?:\s|//.*\n)*{_LIST}\s*,\s*(?:{_LIST}\s*,\s*)?")
_LAMBDA = re.compile(r"\]\s*\(\s*common_params\s*&[^,)]*(?P<values>[^)]*)\)")
_ENV = re.compile(rf"\.set_env\(({_STRING})\)")

_KINDS = {"": "none", "bool": "none", "int": "integer", "std::string": "text"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One call of `add_opt`."""

    spellings: tuple[str, ...]
    opposite: tuple[str, ...]
    kind: str
    """none, integer, text, or two where two values follow."""
    env: str

    @property
    def line(self) -> str:
        columns = " ".join(self.spellings), " ".join(self.opposite), self.kind, self.env
        return "\t".join(column or "-" for column in columns)


def entries(source: str) -> Iterator[Entry]:
    """Every flag in the text of arg.cpp. Raises ValueError for one that cannot be read."""
    starts = [found.start() for found in re.finditer(r"add_opt\(\s*common_arg\(", source)]
    for start, end in zip(starts, [*starts[1:], len(source)], strict=True):
        text = source[start:end]
        named, taken = _SPELLINGS.search(text), _LAMBDA.search(text)
        if named is None or taken is None:
            raise ValueError(f"an option that cannot be read: {text[:200]}")
        types = re.findall(r"bool|int|std::string", taken["values"])
        env = _ENV.search(text)
        yield Entry(
            spellings=tuple(_strings(named[1])),
            opposite=tuple(_strings(named[2] or "")),
            kind="two" if len(types) == 2 else _KINDS["".join(types)],
            env=_strings(env[1])[0] if env else "",
        )


def _strings(text: str) -> list[str]:
    return [one[1:-1] for one in re.findall(_STRING, text)]


def table(source: Path) -> str:
    """The table for an unpacked source archive or llama.cpp's own folder."""
    inside = source / "vendor" / "llama.cpp"
    version = source.name if inside.is_dir() else "llama.cpp"
    path = (inside if inside.is_dir() else source) / "common" / "arg.cpp"
    lines = [entry.line for entry in entries(path.read_text(encoding="utf-8"))]
    return HEAD.format(version=version.replace("_", "-")) + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    folders = [one for one in arguments if not one.startswith("-")]
    if len(folders) != 1:
        sys.exit("usage: python scripts/llama_flags.py SOURCE [--check]")
    text = table(Path(folders[0]))
    if "--check" not in arguments:
        TABLE.write_text(text, encoding="utf-8")
    elif TABLE.read_text(encoding="utf-8") != text:
        sys.exit(f"{TABLE.name} is out of date: run scripts/llama_flags.py without --check")


if __name__ == "__main__":
    main(sys.argv[1:])
