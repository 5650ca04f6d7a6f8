"""Compares drafting with heads to llama.cpp's own `llama-speculative-simple` on the same files.

Tiny models of every kind of head, greedy, fixed draft lengths. Text, and how many tokens each round
drafted and accepted, have to be equal. Exit code 1 where one differs.

    python scripts/heads_against_llama_cpp.py [--prompts 20] [--lengths 1,2,3,4,5,6,7,8]
        [--only PART-OF-A-NAME]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import native

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from specli.errors import SpecliError
from tests import heads_compare
from tests.heads_cases import CASES, Case


def compared(case: Case, length: int, prompts: list[str], program: Path, folder: Path) -> list[str]:
    """Differences of one case at one length; prints the totals."""
    ours, theirs = heads_compare.run(case, length, prompts, program, folder)
    different = heads_compare.differences(ours, theirs, counts=case.counted)
    drafted, accepted = (
        sum(getattr(one, name) for one in ours) for name in ("drafted", "accepted")
    )
    print(
        f"  {length}: accepted {accepted:4} of {drafted:4}, {len(different)} of {len(ours)} differ"
    )
    return different


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--lengths", default="1,2,3,4,5,6,7,8")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    program = native.build() / "llama-speculative-simple"
    prompts = heads_compare.prompts(given.prompts)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            if given.only not in name:
                continue
            print(name, flush=True)
            for length in map(int, given.lengths.split(",")):
                if length > case.longest:
                    continue
                try:
                    different = compared(case, length, prompts, program, Path(folder))
                except SpecliError as error:
                    different = [f"specli failed: {error}"]
                for line in different:
                    print(f"     {line}")
                failed += len(different)
    print(f"{failed} differences")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
