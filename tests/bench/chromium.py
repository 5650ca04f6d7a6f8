"""Chromium without a window and without a network, for pages that must need neither."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

_SECONDS = 60


@dataclass(frozen=True)
class Seen:
    """What a page said on its console, and how it looked."""

    console: list[str]
    picture: Image.Image

    def share(self, colour: tuple[int, int, int]) -> float:
        """The share of the picture that has this colour exactly."""
        picture = self.picture.convert("RGB")
        counts = {found: count for count, found in picture.getcolors(1 << 24) or []}
        return counts.get(colour, 0) / (picture.width * picture.height)


def opened(page: Path, width: int, *, dark: bool = False) -> Seen:
    """Open a page that is `width` pixels wide. Skips the test where there is no Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium")
    shot = page.with_suffix(".png")
    command = [
        program,
        "--headless=new",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        # No name has an address, and what has one is asked of a proxy that is not there.
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--proxy-server=127.0.0.1:9",
        f"--user-data-dir={page.parent / 'browser'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--window-size={width},3000",
        f"--screenshot={shot}",
        page.as_uri(),
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.insert(1, "--no-sandbox")
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    with Image.open(shot) as picture:
        picture.load()
    return Seen(re.findall(r'CONSOLE[^"]*"(.*)", source', done.stderr), picture)
