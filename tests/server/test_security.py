"""Who may ask, and how much at once."""

from __future__ import annotations

import http.client
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from specli.errors import UsageError
from specli.server.settings import MOST_BODY, Settings, read_keys
from tests.server.conftest import Running, Start

CHAT = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}


def test_a_server_that_others_can_reach_needs_a_key() -> None:
    with pytest.raises(UsageError, match="no API key"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", keys=("secret",)).keys == ("secret",)


def test_keys_come_from_a_file_a_line_each(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# people\none\n\ntwo \n")
    assert read_keys("three", file) == ("three", "one", "two")
    file.write_text("# nobody\n")
    with pytest.raises(UsageError, match="no API key"):
        read_keys(None, file)


def test_without_the_key_only_health_and_the_page_answer(start: Start) -> None:
    served = start(keys=("first", "second"))
    paths = ("/v1/models", "/metrics", "/slots", "/props", "/openapi.json")
    for path in paths:
        assert httpx.get(served.url + path).status_code == 401
    for key in ("firs", "first2", "Bearer"):
        headers = {"Authorization": f"Bearer {key}"}
        refused = served.post("/v1/chat/completions", CHAT, headers=headers)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
    assert httpx.get(served.url + "/health").status_code == 200
    for headers in ({"Authorization": "Bearer second"}, {"x-api-key": "first"}):
        assert served.post("/v1/chat/completions", CHAT, headers=headers).status_code == 200


def asked(served: Running, headers: dict[str, str], body: bytes = b"") -> int:
    """The status of a request with exactly these headers."""
    host, port = served.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.putrequest("POST", "/v1/chat/completions", skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_foreign_name_for_this_machine_is_refused(served: Running) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[", "169.254.169.254"):
        assert asked(served, {"Host": host, "Content-Length": "0"}) == 403
    for host in ("localhost:9", "127.0.0.1", "[::1]:80", "model.localhost"):
        assert asked(served, {"Host": host, "Content-Length": "0"}) == 400


def test_other_web_pages_may_not_ask_unless_they_are_named(served: Running, start: Start) -> None:
    page = {"Origin": "https://page.example"}
    assert served.post("/v1/chat/completions", CHAT, headers=page).status_code == 403
    own = {"Origin": served.url}
    assert served.post("/v1/chat/completions", CHAT, headers=own).status_code == 200
    opened = start(origins=("https://page.example",))
    answer = opened.post("/v1/chat/completions", CHAT, headers=page)
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    preflight = httpx.options(
        opened.url + "/v1/chat/completions",
        headers={**page, "Access-Control-Request-Headers": "authorization"},
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization"


def test_a_form_of_another_page_is_no_request(served: Running) -> None:
    """Browsers send `text/plain` across origins without asking first."""
    answer = httpx.post(
        served.url + "/v1/chat/completions",
        content=b'{"messages": [{"role": "user", "content": "x"}]}',
        headers={"Content-Type": "text/plain"},
    )
    assert answer.status_code == 400


def test_bodies_have_a_limit_announced_or_not(served: Running) -> None:
    url = served.url + "/v1/chat/completions"
    headers = {"Content-Type": "application/json"}
    whole = httpx.post(url, content=b" " * (MOST_BODY + 1), headers=headers)
    assert whole.status_code == 413
    chunks = httpx.post(url, content=(b" " * (1 << 20) for _ in range(10)), headers=headers)
    assert chunks.status_code == 413
    assert chunks.json()["error"]["message"]


SECRET = "my secret words"


def test_no_prompt_and_no_key_reaches_a_log(start: Start, caplog: Any, capfd: Any) -> None:
    caplog.set_level(logging.DEBUG)
    served = start(keys=("the-key",))
    for path, body in (
        ("chat/completions", {"messages": SECRET}),
        ("completions", {"prompt": SECRET}),
    ):
        headers = {"Authorization": "Bearer the-key"}
        answer = served.post(f"/v1/{path}", {**body, "max_tokens": 3}, headers=headers)
        assert SECRET not in answer.text
    told = "".join(capfd.readouterr()) + "".join(
        record.getMessage() for record in caplog.records if not record.name.startswith("http")
    )
    assert SECRET not in told
    assert "the-key" not in told
