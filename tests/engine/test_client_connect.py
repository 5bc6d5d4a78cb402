from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.model import ModelError
from glmcode.engine import exchange, retry, same_ids
from glmcode.engine.client import Client, Endpoint, cached_tokenizer, connect
from glmcode.engine.endpoint import address_of
from glmcode.engine.repetition import RepetitionDetector
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER
from tests.fake_engine import FakeEngine, Reply


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)


def opened(endpoint: Endpoint) -> Client:
    async def run() -> Client:
        client = await connect(endpoint, load_specs(), lambda event: None)
        await client.close()
        return client

    return asyncio.run(run())


def refused(endpoint: Endpoint) -> ModelError:
    with pytest.raises(ModelError) as caught:
        opened(endpoint)
    return caught.value


def with_models(body: Any, status: int = 200) -> Any:
    """A route function whose /v1/models answers with this."""
    text = body if isinstance(body, str) else json.dumps(body)
    reply = Reply(status=status, body=text, framing="length")
    original = FakeEngine._route

    def route(self: FakeEngine, seen: Any) -> Reply:
        return reply if seen.path.endswith("/models") else original(self, seen)

    return route


# Addresses


@pytest.mark.parametrize("given", ["h:8000", "127.0.0.1:8000/v1", "[::1]:8000", "my-box.lan:80"])
def test_an_address_without_its_scheme_is_answered_with_what_was_meant(given: str) -> None:
    assert f"did you mean http://{given}?" in str(refused(Endpoint(base_url=given)))


def test_letters_of_all_languages_and_blanks_in_an_address_become_what_a_server_reads() -> None:
    address = address_of(Endpoint(base_url="http://m\u00fcnchen.example/mein weg/\u00e9/%20x"))
    assert address.host == "xn--mnchen-3ya.example"
    assert address.api == "/mein%20weg/%C3%A9/%20x/v1"
    with FakeEngine([]) as engine:
        error = refused(
            Endpoint(base_url=f"http://127.0.0.1:{engine.port}/my way", tokenizer=TOKENIZER)
        )
    assert "/my%20way/v1 does not list its models" in str(error)


def test_what_follows_a_socket_s_name_is_left_out(tmp_path: Path) -> None:
    for given in ("unix:/run/x.sock/v1", "unix:///run/x.sock/v1/", "unix:/run/x.sock/v1/models"):
        assert address_of(Endpoint(base_url=given)).socket == Path("/run/x.sock")
    assert address_of(Endpoint(base_url="unix:/run/v1")).socket == Path("/run/v1")


@pytest.mark.parametrize(
    ("given", "api", "root"),
    [
        ("http://h:8000", "/v1", ""),
        ("http://h:8000/", "/v1", ""),
        ("http://h:8000/v1", "/v1", ""),
        ("http://h:8000/v1/", "/v1", ""),
        ("http://h:8000/v1/chat/completions", "/v1", ""),
        ("http://h:8000/llm", "/llm/v1", "/llm"),
        ("https://h/openai/v1", "/openai/v1", "/openai"),
        ("https://h/api/paas/v4", "/api/paas/v4", "/api/paas"),
        ("https://h/v1beta/openai/", "/v1beta/openai", "/v1beta/openai"),
    ],
)
def test_addresses_are_taken_with_or_without_a_version(given: str, api: str, root: str) -> None:
    address = address_of(Endpoint(base_url=given))
    assert (address.api, address.root) == (api, root)


def test_ports_hosts_and_schemes_are_told_apart() -> None:
    assert address_of(Endpoint(base_url="https://h/v1")).authority == "h"
    assert address_of(Endpoint(base_url="https://h/v1")).port == 443
    assert address_of(Endpoint(base_url="http://[::1]:80/v1")).authority == "[::1]"
    assert address_of(Endpoint(base_url="http://[::1]:81")).origin == "http://[::1]:81"


@pytest.mark.parametrize(
    "given",
    [
        *(
            "",
            "localhost:8000",
            "ftp://h",
            "http://",
            "http://h:99999",
            "http://h:x",
            "http://[::1",
        ),
        *("http://h:0", "http://exa mple", "http://.", "http://" + "a" * 300, "//h:80"),
        *("http://a..\u00fc", "UNIX:/x", "http+unix:///x"),
    ],
)
def test_an_address_that_is_none_is_refused_in_words(given: str) -> None:
    error = refused(Endpoint(base_url=given, model="m", protocol="chat"))
    assert error.kind == "failed"
    assert "address" in str(error)


def test_a_password_in_the_address_is_refused_and_not_echoed() -> None:
    error = refused(Endpoint(base_url="http://me:secret@h/v1", model="m"))
    assert "secret" not in str(error)
    assert "--api-key-env" in str(error)


def test_the_key_stands_in_no_repr() -> None:
    assert "sk-123" not in repr(Endpoint(base_url="http://h", api_key="sk-123"))


# Models and windows


def test_without_a_name_the_server_is_asked_for_its_model_and_window() -> None:
    with FakeEngine([], model="org/glm", window=4096) as engine:
        client = opened(Endpoint(base_url=engine.base_url, protocol="chat"))
    assert (client.model, client.window) == ("org/glm", 4096)
    assert [seen.path for seen in engine.requests] == ["/v1/models"]


def test_of_a_model_that_was_named_the_window_is_asked_for() -> None:
    with FakeEngine([], model="org/glm", window=4096) as engine:
        client = opened(Endpoint(base_url=engine.base_url, model="org/glm"))
    assert (client.protocol, client.window) == ("chat", 4096)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_server_that_does_not_list_its_models_is_used_without_a_known_window(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(FakeEngine, "_route", with_models("no", status))
    with FakeEngine([]) as engine:
        client = opened(Endpoint(base_url=engine.base_url, model="m"))
    assert (client.model, client.window) == ("m", 0)


@pytest.mark.parametrize(
    ("entry", "window"),
    [
        ({"max_model_len": 10}, 10),
        ({"context_length": 11}, 11),
        ({"context_window": 12}, 12),
        ({"meta": {"n_ctx": 13}}, 13),
        ({"max_model_len": None, "context_length": "many"}, 0),
        ({}, 0),
    ],
)
def test_windows_are_read_in_the_forms_that_servers_use(
    entry: dict[str, Any], window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEngine, "_route", with_models({"data": [{"id": "m", **entry}]}))
    with FakeEngine([]) as engine:
        assert opened(Endpoint(base_url=engine.base_url, protocol="chat")).window == window


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "m", "max_model_len": 10**30},
        {"id": "m", "max_model_len": -5},
        {"id": "m", "max_model_len": True},
        {"id": "m", "max_model_len": "8192"},
        {"id": "m", "root": "/" + "a" * 5000},
        {"id": "m", "root": "a/" + "a" * 5000},
        {"id": "m", "root": "a/b\0c"},
        {"id": "m", "root": "/b\0c"},
        {"id": "m", "root": "\ud800/x"},
        {"id": "m", "root": 5},
        {"id": "m", "meta": [1]},
    ],
)
def test_what_a_server_says_that_cannot_be_counts_as_not_said(
    monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]
) -> None:
    monkeypatch.setattr(FakeEngine, "_route", with_models({"data": [entry]}))
    with FakeEngine([]) as engine:
        client = opened(Endpoint(base_url=engine.base_url))
    assert (client.model, client.window, client.protocol) == ("m", 0, "chat")


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"data":' * 50_000,
        {"data": [{"id": "a\x1b[31m"}]},
        {"data": [{"id": "x" * 10_000}]},
        {"data": [{"id": ""}]},
        '{"data": [{"id": "m\\ud800"}]}',
    ],
    ids=["deep", "deep tables", "control", "long", "empty", "surrogate"],
)
def test_a_list_without_a_name_that_can_be_one_needs_a_name(
    monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    monkeypatch.setattr(FakeEngine, "_route", with_models(body))
    with FakeEngine([]) as engine:
        error = refused(Endpoint(base_url=engine.base_url))
    assert "name the model with -m" in str(error)


def test_a_window_that_is_given_stands() -> None:
    with FakeEngine([]) as engine:
        client = opened(Endpoint(base_url=engine.base_url, protocol="chat", window=999))
    assert client.window == 999


def test_several_models_must_be_chosen_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "_route", with_models({"data": [{"id": "a"}, {"id": "b"}]}))
    with FakeEngine([]) as engine:
        error = refused(Endpoint(base_url=engine.base_url, protocol="chat"))
    assert "-m (a, b)" in str(error)


@pytest.mark.parametrize(
    ("body", "status"),
    [("nope", 404), ("nope", 405), ("nope", 200), ({"data": []}, 200), ([1], 200), ("{}", 501)],
)
def test_a_server_without_a_list_of_models_needs_a_name(
    body: Any, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEngine, "_route", with_models(body, status))
    with FakeEngine([]) as engine:
        error = refused(Endpoint(base_url=engine.base_url, protocol="chat"))
        named = opened(Endpoint(base_url=engine.base_url, protocol="chat", model="m"))
    assert error.kind == "failed"
    assert "-m" in str(error)
    assert named.model == "m"


def test_a_key_that_is_refused_at_the_list_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "_route", with_models({"error": "who are you"}, 401))
    with FakeEngine([]) as engine:
        error = refused(Endpoint(base_url=engine.base_url, protocol="chat"))
    assert "who are you" in str(error)
    assert "--api-key-env" in str(error)


@pytest.mark.parametrize("protocol", ["chat", "tokens", None])
def test_nobody_there_is_unavailable(protocol: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = Endpoint(base_url=f"http://127.0.0.1:{port}", protocol=protocol, tokenizer=TOKENIZER)
    assert refused(endpoint).kind == "unavailable"


def test_a_list_of_models_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SMALL_S", 0.3)
    monkeypatch.setattr(retry, "BUDGET_S", 0.4)
    slow = Reply(status=200, body="{}", framing="length", delay=20)
    monkeypatch.setattr(FakeEngine, "_route", lambda self, seen: slow)
    with FakeEngine([]) as engine:
        error = refused(Endpoint(base_url=engine.base_url, protocol="chat"))
    assert error.kind == "unavailable"
    assert "no answer to /v1/models" in str(error)


# The choice


def test_a_name_and_chat_need_no_request_at_all() -> None:
    with FakeEngine([]) as engine:
        client = opened(Endpoint(base_url=engine.base_url, protocol="chat", model="m"))
        assert not engine.requests
    assert client.protocol == "chat"
    assert client.protocol_reason


def test_without_a_tokenizer_chat_is_chosen_after_a_look_at_the_list_alone() -> None:
    with FakeEngine([]) as engine:
        client = opened(Endpoint(base_url=engine.base_url, model="m"))
        assert [seen.path for seen in engine.requests] == ["/v1/models"]
    assert client.protocol == "chat"
    assert "no tokenizer" in client.protocol_reason


def test_the_same_ids_make_it_tokens() -> None:
    with FakeEngine([], tokenizer=TOKENIZER) as engine:
        client = opened(Endpoint(base_url=engine.base_url, tokenizer=TOKENIZER))
    assert client.protocol == "tokens"
    assert "the same ids" in client.protocol_reason
    assert client.window == engine.window


def test_other_ids_make_it_chat_or_an_error_when_tokens_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeEngine, "_encode", lambda self, text: [1, 2, 3])
    with FakeEngine([], tokenizer=TOKENIZER) as engine:
        endpoint = Endpoint(base_url=engine.base_url, tokenizer=TOKENIZER, model="m")
        client = opened(endpoint)
        error = refused(Endpoint(base_url=engine.base_url, tokenizer=TOKENIZER, protocol="tokens"))
    assert client.protocol == "chat"
    assert "other ids" in client.protocol_reason
    assert "other ids" in str(error) and "--protocol chat" in str(error)


def test_a_server_that_cannot_be_probed_speaks_chat_unless_told_otherwise() -> None:
    with FakeEngine([]) as engine:
        guessed = opened(Endpoint(base_url=engine.base_url, tokenizer=TOKENIZER, model="glm"))
        told = opened(
            Endpoint(base_url=engine.base_url, tokenizer=TOKENIZER, model="glm", protocol="tokens")
        )
    assert guessed.protocol == "chat" and "/tokenize" in guessed.protocol_reason
    assert told.protocol == "tokens" and "/tokenize" in told.protocol_reason


def test_tokens_without_a_tokenizer_is_refused_with_the_way_out() -> None:
    with FakeEngine([]) as engine:
        error = refused(Endpoint(base_url=engine.base_url, protocol="tokens", model="m"))
    assert "tokenizer.json" in str(error) and "--protocol chat" in str(error)


@pytest.mark.parametrize("model", [None, "tiny"])
def test_tokens_that_are_asked_for_find_the_tokenizer_of_what_is_served(
    monkeypatch: pytest.MonkeyPatch, model: str | None
) -> None:
    listed = {"data": [{"id": "tiny", "root": str(TOKENIZER.parent), "max_model_len": 4096}]}
    monkeypatch.setattr(FakeEngine, "_route", with_models(listed))
    with FakeEngine([], tokenizer=TOKENIZER) as engine:
        client = opened(Endpoint(base_url=engine.base_url, protocol="tokens", model=model))
    assert (client.protocol, client.model, client.window) == ("tokens", "tiny", 4096)


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with FakeEngine([]) as engine:
        base = {"base_url": engine.base_url, "model": "m", "tokenizer": tmp_path}
        error = refused(Endpoint(**base, protocol="tokens"))  # type: ignore[arg-type]
        client = opened(Endpoint(**base))  # type: ignore[arg-type]
    assert str(tmp_path) in str(error)
    assert client.protocol == "chat" and str(tmp_path) in client.protocol_reason


def test_a_tokenizer_in_the_hubs_cache_or_the_models_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--org--glm" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--org--glm" / "refs").mkdir()
    (tmp_path / "models--org--glm" / "refs" / "main").write_text("abc")
    assert cached_tokenizer("org/glm") is None
    (snapshot / "tokenizer.json").write_bytes(TOKENIZER.read_bytes())
    assert cached_tokenizer("org/glm") == snapshot / "tokenizer.json"
    assert cached_tokenizer(str(snapshot)) == snapshot / "tokenizer.json"
    assert cached_tokenizer("glm") is None and cached_tokenizer("") is None
    with FakeEngine([], model="org/glm", tokenizer=TOKENIZER) as engine:
        client = opened(Endpoint(base_url=engine.base_url))
    assert client.protocol == "tokens"


def test_the_probe_holds_text_that_tells_tokenizers_apart() -> None:
    assert "<|user|>" in same_ids.PROBE and "😀" in same_ids.PROBE


# Repetition


def fires(tokens: list[int], **fields: bool) -> int | None:
    """After how many tokens the detector fires."""
    detector = RepetitionDetector()
    for index, token in enumerate(tokens):
        if detector.feed([token], **fields):
            return index + 1
    return None


@pytest.mark.parametrize("period", [1, 2, 3, 7, 40, 100, 200])
def test_a_period_is_noticed_after_long_enough(period: int) -> None:
    lead = list(range(10_000, 10_500))
    at = fires(lead + list(range(period)) * (4000 // period))
    assert at is not None
    assert at - len(lead) <= max(400, 8 * period) + 2 * period + 10


def test_a_period_with_repeats_inside_is_noticed() -> None:
    inner = [1, 2, 3, 4, 5, 6, 7] * 3 + [8, 9]
    assert fires(inner * 60) is not None


def test_short_repeats_and_slowly_changing_lists_are_left_alone() -> None:
    assert fires([5] * 300) is None
    assert fires(list(range(60)) * 6) is None
    counted = [token for number in range(500) for token in (1, 2, 3, 1000 + number, 4)]
    assert fires(counted) is None


def test_inside_a_call_four_times_as_much_is_borne() -> None:
    assert fires([5] * 1500, patient=True) is None
    assert fires([5] * 1700, patient=True) is not None


def test_what_is_kept_ends_before_the_third_time() -> None:
    detector = RepetitionDetector()
    assert detector.feed([*range(1000, 1100), *([1, 2, 3, 4] * 200)])
    assert 100 <= detector.kept() <= 100 + 12


def test_watching_costs_little_per_token() -> None:
    import time

    detector = RepetitionDetector()
    began = time.process_time()
    detector.feed((number * 7919) % 5003 for number in range(30_000))
    assert time.process_time() - began < 2


# Sockets of servers that somebody else started


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
def test_a_server_on_a_socket_is_taken_for_what_it_is(tmp_path: Path, form: str) -> None:
    socket = tmp_path / "s.sock"
    with FakeEngine([], socket=socket, tokenizer=TOKENIZER, window=4096):
        client = opened(Endpoint(base_url=form.format(socket), tokenizer=TOKENIZER))
        assert (client.protocol, client.window) == ("tokens", 4096)
        assert client.protocol_reason == "the server's tokenizer gives the same ids"
        client = opened(Endpoint(base_url=form.format(socket)))
        assert client.protocol == "chat"


def test_a_server_on_a_socket_with_another_tokenizer_is_spoken_to_in_chat(tmp_path: Path) -> None:
    socket = tmp_path / "s.sock"
    other = tmp_path / "tokenizer.json"
    text = json.loads(TOKENIZER.read_text())
    vocabulary = text["model"]["vocab"]
    names = sorted(vocabulary, key=vocabulary.__getitem__)[:40]
    for name, moved in zip(names, [*names[1:], names[0]], strict=True):
        vocabulary[name] = names.index(moved)
    other.write_text(json.dumps(text))
    with FakeEngine([], socket=socket, tokenizer=other):
        client = opened(Endpoint(base_url=f"unix:{socket}", tokenizer=TOKENIZER))
    assert client.protocol == "chat" and "other ids" in client.protocol_reason


@pytest.mark.parametrize("given", ["unix:", "unix:relative.sock", "unix://"])
def test_a_socket_needs_a_whole_path(given: str) -> None:
    with pytest.raises(ModelError, match="unix:"):
        address_of(Endpoint(base_url=given))


def test_a_socket_where_nobody_is_says_so(tmp_path: Path) -> None:
    error = refused(Endpoint(base_url=f"unix:{tmp_path}/none.sock"))
    assert "none.sock" in str(error) and error.kind == "unavailable"
