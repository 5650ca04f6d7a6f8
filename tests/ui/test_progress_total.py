from __future__ import annotations

from specli.hub.progress import Progress
from specli.ui.progress import reporting
from tests.ui.screen import Screen
from tests.ui.test_progress import terminal


def test_several_downloads_are_added_up_below_their_bars() -> None:
    screen = Screen(100, 10)
    with reporting(console=terminal(screen)) as report:
        for name, size in (("a.gguf", 10_000_000), ("b.gguf", 20_000_000), ("c.gguf", 30_000_000)):
            report(Progress("fetch", f"owner/repo/{name}", 0, size))
            report(Progress("fetch", f"owner/repo/{name}", size // 2, size))
    *bars, total = screen.lines
    assert [bar.split()[1] for bar in bars] == ["a.gguf", "b.gguf", "c.gguf"]
    assert total.startswith("total")
    assert "30.0/60.0 MB" in total
