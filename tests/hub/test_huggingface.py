from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import constants

from specli.errors import FetchError, UsageError
from specli.hub.download import pull
from specli.hub.huggingface import HubReference, cached_model, parse_hub
from tests.hub.fake_hub import TOKEN, FakeHub

REPO = "someone/Tiny-GGUF"
TINY = HubReference(REPO, quant="Q8_0")


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf:a/b:Q4_K_M", HubReference("a/b", quant="Q4_K_M")),
        ("a/b:Q4_K_M", HubReference("a/b", quant="Q4_K_M")),
        ("a/b.c-GGUF", HubReference("a/b.c-GGUF")),
        ("hf:a/b:Q4_0@v1", HubReference("a/b", quant="Q4_0", revision="v1")),
        ("hf:a/b/c.gguf", HubReference("a/b", file="c.gguf")),
        ("hf:a/b/d/c.gguf@refs/pr/1", HubReference("a/b", file="d/c.gguf", revision="refs/pr/1")),
    ],
)
def test_references_are_read(text: str, reference: HubReference) -> None:
    assert parse_hub(text) == reference
    assert parse_hub(str(reference)) == reference


@pytest.mark.parametrize(
    "text", ["a", "a/b/c", "a/b/c.gguf", "./a/b", "/a/b", "http://a/b", "a//b"]
)
def test_other_strings_are_not_taken_for_repositories(text: str) -> None:
    assert parse_hub(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:a",
        "hf:a/b/c",
        "hf:a/b/c.bin",
        "hf:a/b:",
        "hf:a/b:Q4_0@../../x",
        "hf:a/b:Q4_0@a/..",
    ],
)
def test_a_wrong_reference_to_the_hub_shows_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a model") as caught:
        parse_hub(text)
    assert "hf:OWNER/REPO:QUANT" in (caught.value.hint or "")


def test_what_has_been_pulled_is_found_without_the_network(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"model"})
    assert cached_model(TINY) is None
    (paths,) = pull([TINY])
    hub.requests.clear()
    assert cached_model(TINY) == paths
    assert cached_model(HubReference(REPO, file="Tiny-Q8_0.gguf")) == paths
    assert cached_model(HubReference(REPO, quant="Q4_0")) is None
    assert hub.requests == []


def test_the_default_is_not_taken_for_what_happens_to_be_here(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"model", "Tiny-Q4_K_M.gguf": b"default"})
    pull([TINY])
    assert cached_model(HubReference(REPO)) is None
    (paths,) = pull([HubReference(REPO)])
    assert cached_model(HubReference(REPO)) == paths
    assert paths[0].read_bytes() == b"default"


def _gated(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.gated.add(REPO)


def _private(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.private.add(REPO)


def _missing(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    del hub.repos[REPO]


def _missing_with_a_token(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HF_TOKEN", TOKEN)
    del hub.repos[REPO]


def _wrong_token(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HF_TOKEN", "hf_wrong")


def _too_many(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.status = 429


def _down(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.status = 503


def _login_page(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.status = 200


def _offline(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(constants, "HF_HUB_OFFLINE", True)


def _unreachable(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    # Port 9 is reserved for a service that nothing runs any more.
    patch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("break_it", "message", "remedy"),
    [
        (_gated, "is gated", "ask for access at http://127.0.0.1"),
        (_gated, "is gated", "HF_TOKEN"),
        (_private, "no repository someone/Tiny-GGUF, or it is private", "HF_TOKEN"),
        (_missing, "no repository someone/Tiny-GGUF", "check the spelling"),
        (_missing_with_a_token, "no repository someone/Tiny-GGUF", "check the spelling"),
        (_wrong_token, "refused the token", "hf auth login"),
        (_too_many, "too many requests", "wait some minutes"),
        (_down, "answered 503", "try again later"),
        (_login_page, "does not answer as a Hub", "HF_ENDPOINT"),
        (_offline, "HF_HUB_OFFLINE prevents", "unset HF_HUB_OFFLINE"),
        (_unreachable, "http://127.0.0.1:9 could not be reached", "HF_ENDPOINT"),
    ],
)
def test_what_the_hub_refuses_is_said_with_a_remedy(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, break_it: object, message: str, remedy: str
) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"model"})
    assert callable(break_it)
    break_it(hub, monkeypatch)
    with pytest.raises(FetchError, match=message) as caught:
        pull([TINY])
    assert remedy in (caught.value.hint or "")


def test_a_revision_that_is_not_there_is_named(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"model"})
    with pytest.raises(FetchError, match="no revision 'v7'"):
        pull([HubReference(REPO, quant="Q8_0", revision="v7")])


def test_a_name_that_no_repository_can_have_is_a_usage_error(hub: FakeHub) -> None:
    with pytest.raises(UsageError, match="not a name that a repository can have"):
        pull([HubReference("a/b--c", quant="Q8_0")])


def test_a_description_without_an_end_is_refused(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specli.hub.huggingface.MOST_METADATA", 1 << 20)
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"model"})
    hub.describe = lambda info: {**info, "more": "x" * (1 << 21)}
    with pytest.raises(FetchError, match="more than 1 MiB about hf:someone/Tiny-GGUF:Q8_0"):
        pull([TINY])


@pytest.mark.parametrize("body", [[], {}, {"sha": "0" * 40}, {"sha": "0" * 40, "siblings": [7]}])
def test_a_description_of_another_form_is_no_fault_of_specli(hub: FakeHub, body: Any) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"model"})
    hub.describe = lambda _info: body
    with pytest.raises(FetchError, match="does not answer as a Hub"):
        pull([TINY])


@pytest.mark.parametrize(
    "address", ["http://me:secret@127.0.0.1:9", "http://me:secret@:x", "://me:secret@a", "nothing"]
)
def test_a_password_in_the_endpoint_is_not_shown(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    with pytest.raises(FetchError) as caught:
        pull([TINY])
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_repository_of_many_files_is_listed_in_part(hub: FakeHub) -> None:
    hub.add(REPO, {f"Tiny-{number}.gguf": b"model" for number in range(40)})
    with pytest.raises(UsageError) as caught:
        pull([TINY])
    assert (caught.value.hint or "").endswith("and 20 more")
