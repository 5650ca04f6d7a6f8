"""The page at `/` and the reference at `/docs`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from specli.server.pages import FILES, FOLDER
from tests.server.conftest import Running, Start


def test_the_files_load_nothing_from_elsewhere(served: Running) -> None:
    for path in FILES:
        answer = httpx.get(served.url + path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.text
        assert "https://" not in answer.text
        assert not re.search(r"innerHTML|eval\(|onclick=|<script>", answer.text)


def test_the_reference_describes_every_path(served: Running) -> None:
    found = httpx.get(served.url + "/openapi.json").json()
    assert {"/v1/chat/completions", "/v1/messages", "/v1/responses", "/health"} <= set(
        found["paths"]
    )
    fields = found["components"]["schemas"]["Chat"]["properties"]
    assert {"messages", "prediction", "speculative", "speculative.n_max"} <= set(fields)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_tokens_are_coloured_by_drafter_and_two_settings_stand_side_by_side(
    start: Start,
) -> None:
    served = start()
    script = Path(__file__).parent / "page_in_node.js"
    done = subprocess.run(
        ["node", str(script), str(FOLDER / "page.js"), served.url, "hello hello", "draft", "off"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    seen = json.loads(done.stdout)
    assert seen["model"] == "target"
    assert seen["choices"] == ["auto", "off", "draft"]
    drafted, plain = seen["answers"]
    text = ["".join(token[1] for token in one["tokens"]) for one in (drafted, plain)]
    assert text[0] == text[1] != ""
    kinds = {token[0] for token in drafted["tokens"]}
    assert kinds == {"token target", "token draft"}
    assert {token[0] for token in plain["tokens"]} == {"token target"}
    hints = [token[2] for token in drafted["tokens"] if token[0] == "token draft"]
    assert all(re.fullmatch(r"draft, confidence [01]\.\d\d, the target's first choice", one)
               for one in hints)  # fmt: skip
    assert re.search(r"accepted \d+ of \d+ \(\d+ %\)", drafted["figures"])
    assert "tok/s" in drafted["figures"]


def test_the_page_opens_in_a_browser_without_an_error(served: Running, tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium")
    done = subprocess.run(
        [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000", "--dump-dom", served.url],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert re.search(r'<small id="model">target</small>', done.stdout)
    assert '<option class="" value="draft">' in done.stdout
