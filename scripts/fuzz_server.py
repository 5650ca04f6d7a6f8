"""Requests made from the server's own OpenAPI document, right and wrong ones: none may get a 5xx.

Needs schemathesis (pip install schemathesis), which is no dependency of the project. Starts
`specli serve` with the flags behind `--`; a short context and few tokens keep answers short.

    python scripts/fuzz_server.py [--cases 2000] [--seed 1] -- -m target.gguf -c 256 -n 16 -np 4
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile

from stress_server import Server

OPERATIONS = 14
"""Paths and methods of the document, between which the cases are divided."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("serve", nargs="*", help="flags of specli serve")
    given = parser.parse_args()
    program = shutil.which("schemathesis")
    if program is None:
        sys.exit("schemathesis is not installed")
    server = Server(given.serve)
    command = [program, "run", server.url + "/openapi.json", "--checks", "not_a_server_error"]
    command += ["--phases", "fuzzing", "--max-examples", str(-(-given.cases // OPERATIONS))]
    command += ["--workers", "4", "--seed", str(given.seed), "--continue-on-failure", "--no-shrink"]
    command += ["--suppress-health-check", "all", "--warnings", "off", "--no-color"]
    try:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        alive = server.process.poll() is None
    finally:
        server.process.terminate()
        server.process.wait()
    found = re.search(r"(\d+) generated.*", done.stdout)
    print(found[0] if found else done.stdout[-2000:], "" if alive else "and the server died")
    if done.returncode or not alive:
        print(done.stdout[-4000:])
        sys.exit(1)


if __name__ == "__main__":
    main()
