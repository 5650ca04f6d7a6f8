"""The pipeline in docs/cluster.md runs as it is written, on a small cluster and files here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import tiny_gguf as tiny

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: specli[ray]"),
]


def test_the_pipeline_of_the_page_answers_every_row(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    here = {
        "s3://bucket/prompts/": str(tmp_path / "prompts"),
        "s3://bucket/answers/": str(tmp_path / "answers"),
        "size=4": "size=1",
        "num_cpus=4": "num_cpus=1",
    }
    for there, name in here.items():
        assert code.count(there) == 1
        code = code.replace(there, name)
    tiny.write(tmp_path / "target.gguf", tiny.llama_bytes())
    tiny.write(tmp_path / "draft.gguf", tiny.llama_bytes(noise=0.1))
    # Actors run in folders of their own; on a cluster such a name is a path on every node.
    code = code.replace("target.gguf", str(tmp_path / "target.gguf"))
    code = code.replace("draft.gguf", str(tmp_path / "draft.gguf"))
    (tmp_path / "prompts").mkdir()
    rows = [{"id": f"p{n}", "prompt": f"the cat {n}", "max_tokens": 4} for n in range(20)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "prompts" / "part.json").write_text(lines)
    start = "import ray; ray.init(address='local', num_cpus=2, include_dashboard=False)\n"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SPECLI_CACHE": str(tmp_path / "cache"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", start + code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    from pyarrow import parquet

    answers = parquet.read_table(tmp_path / "answers").to_pylist()
    assert {answer["id"] for answer in answers} == {row["id"] for row in rows}
    assert all(json.loads(answer["record"])["completion_tokens"] == 4 for answer in answers)
    assert not any(answer["failure"] for answer in answers)
