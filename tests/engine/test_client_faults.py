from __future__ import annotations

import contextlib
import json
import logging
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from glmcode.core.events import DeltasDiscarded, Notice, Retrying
from glmcode.engine import retry
from glmcode.engine.client import Endpoint
from tests.engine.client_kit import Asked, ask_once, chat, tokens
from tests.fake_engine import FakeEngine, Reply

BOTH = pytest.mark.parametrize("endpoint_of", [chat, tokens], ids=["chat", "tokens"])
IDS = [198, 1525, 71, 1526, 39, 653, 573]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)


def good(**fields: object) -> Reply:
    """A reply that both protocols can send."""
    return Reply(text="fine", ids=IDS, **fields)  # type: ignore[arg-type]


def asked_with(endpoint_of: object, *script: Reply, **fields: object) -> tuple[Asked, FakeEngine]:
    with FakeEngine(script) as engine:
        return ask_once(endpoint_of(engine, **fields)), engine  # type: ignore[operator]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@BOTH
def test_a_refused_connection_is_tried_a_few_times_and_then_unavailable(
    endpoint_of: object,
) -> None:
    engine = FakeEngine([], port=free_port())
    asked = ask_once(endpoint_of(engine))  # type: ignore[operator]
    assert asked.fault.kind == "unavailable"
    assert "cannot be reached: connection refused" in str(asked.fault)
    assert "--base-url" in str(asked.fault)
    assert asked.retries == 4
    assert [event.attempt for event in asked.of(Retrying)] == [2, 3, 4, 5]


def test_a_missing_socket_is_unavailable_and_names_engine_status(tmp_path: Path) -> None:
    asked = ask_once(chat(FakeEngine([], socket=tmp_path / "none.sock")))
    assert asked.fault.kind == "unavailable"
    assert "glmcode engine status" in str(asked.fault)


@BOTH
def test_a_host_that_does_not_exist_is_unavailable(endpoint_of: object) -> None:
    engine = FakeEngine([])
    endpoint = endpoint_of(engine, base_url="http://no-such-host.invalid:8000")  # type: ignore[operator]
    asked = ask_once(endpoint)
    assert asked.fault.kind == "unavailable"
    assert "host name cannot be resolved" in str(asked.fault)


@BOTH
def test_tls_against_a_plain_server_is_unavailable_and_says_tls(endpoint_of: object) -> None:
    with FakeEngine([good()] * 9) as engine:
        url = f"https://127.0.0.1:{engine.port}/v1"
        asked = ask_once(endpoint_of(engine, base_url=url))  # type: ignore[operator]
    assert asked.fault.kind == "unavailable"
    assert "TLS" in str(asked.fault)
    assert not engine.requests


@BOTH
@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_status_is_tried_again_and_then_works(endpoint_of: object, status: int) -> None:
    asked, engine = asked_with(endpoint_of, Reply(status=status, times=2), good())
    assert asked.reply.text
    assert asked.retries == 2
    assert len(engine.steps) == 3
    assert not asked.of(DeltasDiscarded)


@BOTH
def test_a_gateway_status_that_stays_is_unavailable(endpoint_of: object) -> None:
    asked, engine = asked_with(endpoint_of, Reply(status=503, times=9))
    assert asked.fault.kind == "unavailable"
    assert "(503)" in str(asked.fault) and "scripted status 503" in str(asked.fault)
    assert len(engine.steps) == 5


@BOTH
def test_a_retry_after_that_fits_is_waited_for(endpoint_of: object) -> None:
    asked, _ = asked_with(endpoint_of, Reply(status=503, headers={"Retry-After": "1"}), good())
    assert asked.reply.text
    assert asked.of(Retrying)[0].wait_s == 1
    assert asked.seconds >= 1


@BOTH
def test_a_retry_after_beyond_the_budget_is_not_waited_for(endpoint_of: object) -> None:
    limited = Reply(status=429, headers={"Retry-After": "3600"}, times=9)
    asked, engine = asked_with(endpoint_of, limited)
    assert asked.fault.kind == "unavailable"
    assert asked.seconds < 60
    assert len(engine.steps) == 1


def test_a_retry_after_date_is_understood() -> None:
    date = "Wed, 21 Oct 2099 07:28:00 GMT"
    asked, engine = asked_with(chat, Reply(status=503, headers={"Retry-After": date}, times=9))
    assert asked.fault.kind == "unavailable"
    assert len(engine.steps) == 1


@BOTH
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422])
def test_a_refusal_fails_at_once_and_quotes_the_server(endpoint_of: object, status: int) -> None:
    body = json.dumps({"error": {"message": "no, because of reasons", "code": status}})
    asked, engine = asked_with(endpoint_of, Reply(status=status, body=body, times=9))
    assert asked.fault.kind == "failed"
    assert "no, because of reasons" in str(asked.fault)
    assert str(status) in str(asked.fault)
    assert asked.retries == 0
    routes = {seen.path for seen in engine.steps}
    assert len(engine.steps) == len(routes), "each route is asked once"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error":"plain words"}', "plain words"),
        ('{"message":"old vLLM"}', "old vLLM"),
        ('{"detail":"fastapi"}', "fastapi"),
        ('{"detail":[{"loc":["body","top_k"],"msg":"too odd"}]}', "body.top_k: too odd"),
        ("<html><head><title>Bad request</title></head></html>", "a web page, 'Bad request'"),
        ("<title" * 40_000, "a web page"),
        ("just text\nin two lines", "just text in two lines"),
        ("", "no reason given"),
    ],
)
def test_error_bodies_of_all_kinds_are_quoted(body: str, said: str) -> None:
    asked, _ = asked_with(chat, Reply(status=400, body=body))
    assert said in str(asked.fault)


def test_a_long_error_body_is_quoted_in_part() -> None:
    body = json.dumps({"error": {"message": "x" * 100_000}})
    asked, _ = asked_with(chat, Reply(status=400, body=body))
    assert len(str(asked.fault)) < 500


@BOTH
def test_the_key_is_sent_and_never_echoed(endpoint_of: object) -> None:
    key = "sk-very-secret-0123456789"
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {key}"}})
    asked, engine = asked_with(
        endpoint_of,
        Reply(status=401, body=body),
        api_key=key + "\n",
        key_name="MY_KEY",
    )
    assert engine.requests[0].headers["authorization"] == f"Bearer {key}"
    assert key not in str(asked.fault) + repr(asked.fault.__cause__)
    assert "MY_KEY" in str(asked.fault)
    assert asked.fault.kind == "failed"


@BOTH
def test_without_a_key_no_key_is_sent_and_a_401_says_how_to_give_one(endpoint_of: object) -> None:
    asked, engine = asked_with(endpoint_of, Reply(status=401))
    assert "authorization" not in engine.requests[0].headers
    assert "--api-key-env VAR" in str(asked.fault)


def test_a_key_with_a_line_break_inside_is_refused_before_anything_is_sent() -> None:
    asked, engine = asked_with(chat, good(), api_key="a\nb")
    assert asked.fault.kind == "failed"
    assert not engine.requests


@BOTH
@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 16384 tokens. However, you requested 20000",
        "the request exceeds the available context size, try increasing it",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Input length (20000) exceeds model's max_model_len",
    ],
)
def test_words_about_the_window_make_it_context_full(endpoint_of: object, message: str) -> None:
    body = json.dumps({"error": {"message": message}})
    asked, _ = asked_with(endpoint_of, Reply(status=400, body=body))
    assert asked.fault.kind == "context_full"


@BOTH
def test_a_500_is_tried_three_times_and_then_failed(endpoint_of: object) -> None:
    asked, engine = asked_with(endpoint_of, Reply(status=500, times=9))
    assert asked.fault.kind == "failed"
    assert len(engine.steps) == 3


@BOTH
def test_a_429_is_borne_with_and_then_unavailable(endpoint_of: object) -> None:
    asked, engine = asked_with(endpoint_of, Reply(status=429, times=9))
    assert asked.fault.kind == "unavailable"
    assert len(engine.steps) == 5


@BOTH
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_but_named(endpoint_of: object, status: int) -> None:
    with FakeEngine([good()]) as other:
        headers = {"Location": other.base_url}
        asked, _ = asked_with(
            endpoint_of, Reply(status=status, headers=headers, times=3), api_key="k" * 20
        )
    assert asked.fault.kind == "failed"
    assert other.base_url in str(asked.fault)
    assert not other.requests


@BOTH
def test_a_server_that_hangs_up_without_an_answer_is_tried_again(endpoint_of: object) -> None:
    asked, engine = asked_with(endpoint_of, Reply(drop=True), Reply(drop=True), good())
    assert asked.reply.text
    assert asked.retries >= 1
    assert len(engine.steps) == 3


@BOTH
def test_an_error_body_without_end_is_not_waited_for(
    endpoint_of: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmcode.engine import http

    monkeypatch.setattr(http, "REFUSAL_S", 0.3)
    endless = Reply(status=400, body="{", hang_after_events=1)
    script = [Reply(status=400, raw="x", split=1, gap=0), endless]
    asked, _ = asked_with(endpoint_of, script[1])
    assert asked.fault.kind == "failed"
    assert asked.seconds < 60


def test_the_supervisor_says_that_the_engine_is_starting(tmp_path: Path) -> None:
    error = {"type": "engine_starting", "message": "loading weights, 40 s left"}
    body = json.dumps({"error": error})
    script = [Reply(status=503, body=body), good()]
    with FakeEngine(script, socket=tmp_path / "s") as engine:
        asked = ask_once(tokens(engine))
    assert asked.reply.text
    assert "loading weights" in asked.of(Retrying)[0].why


def test_a_failed_engine_is_not_asked_again_and_its_log_is_handed_on(tmp_path: Path) -> None:
    error = {"type": "engine_failed", "message": "out of memory", "log": ["line 1", "line 2"]}
    script = [Reply(status=503, body=json.dumps({"error": error}), times=5)]
    with FakeEngine(script, socket=tmp_path / "s") as engine:
        asked = ask_once(tokens(engine))
    assert asked.fault.kind == "unavailable"
    assert "out of memory" in str(asked.fault)
    assert asked.fault.detail == "line 1\nline 2"
    assert len(engine.steps) == 1


@BOTH
def test_a_stream_that_breaks_off_is_asked_for_again(endpoint_of: object) -> None:
    cut = good(chunk=2, cut_after_events=1)
    asked, engine = asked_with(endpoint_of, cut, good())
    assert asked.reply.text
    assert asked.retries == 1
    assert len(engine.steps) == 2
    assert engine.steps[0].json["model"] == engine.steps[1].json["model"]


def test_what_was_shown_before_a_break_is_declared_void() -> None:
    cut = Reply(text="one two three four five", chunk=3, cut_after_events=4)
    asked, _ = asked_with(chat, cut, Reply(text="fine"))
    kinds = [type(event).__name__ for event in asked.events]
    assert kinds.index("DeltasDiscarded") < kinds.index("Retrying")
    assert asked.shown("text") == "fine" == asked.reply.text
    assert asked.kept == []


@BOTH
def test_a_stream_that_always_breaks_off_is_unavailable_after_two_more_tries(
    endpoint_of: object,
) -> None:
    cut = Reply(text="half an answer", ids=IDS, chunk=1, cut_after_events=4, times=9)
    asked, engine = asked_with(endpoint_of, cut)
    assert asked.fault.kind == "unavailable"
    assert "broke off" in str(asked.fault) or "before it was whole" in str(asked.fault)
    assert len(engine.steps) == 3
    assert [message.stop for message in asked.kept] == ["interrupted"]


@BOTH
def test_a_whole_body_without_finish_reason_is_never_an_answer(endpoint_of: object) -> None:
    asked, engine = asked_with(endpoint_of, good(finish="", times=9))
    assert asked.error is not None
    assert len(engine.steps) == 3


@BOTH
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "boom", "type": "InternalServerError", "code": 500}, "failed"),
        ({"message": "EngineCore encountered an issue", "code": 500}, "unavailable"),
        ({"message": "overloaded", "code": 503}, "unavailable"),
        ({"message": "maximum context length is 5", "code": 400}, "context_full"),
        ("a bare string", "failed"),
    ],
)
def test_an_error_line_inside_a_200_is_an_error(
    endpoint_of: object, error: object, kind: str
) -> None:
    line = error if isinstance(error, dict) else json.dumps({"error": error})
    asked, _ = asked_with(endpoint_of, good(error_line=line, chunk=1, times=9))
    assert asked.fault.kind == kind
    said = error["message"] if isinstance(error, dict) else error
    assert said in str(asked.fault)  # type: ignore[operator]


@BOTH
@pytest.mark.parametrize(
    "raw",
    [
        'event: error\ndata: {"message":"it died"}\n\n',
        "event: error\ndata: it died\n\n",
        'data: {"object":"error","message":"it died","code":500}\n\n',
        'data: {"message":"it died"}\n\n',
        '{"error":{"message":"it died"}}',
        'data: {"error":{"message":"it died","code":"\u00b2"}}\n\n',
        'data: {"error":{"message":"it died","code":"' + "9" * 5000 + '"}}\n\n',
    ],
)
def test_errors_in_other_dress_are_errors_too(endpoint_of: object, raw: str) -> None:
    asked, _ = asked_with(endpoint_of, Reply(raw=raw, times=3))
    assert "it died" in str(asked.fault)


@BOTH
def test_a_web_page_with_status_200_fails_at_once(endpoint_of: object) -> None:
    asked, engine = asked_with(endpoint_of, Reply(html=True, times=9))
    assert asked.fault.kind == "failed"
    assert "web page" in str(asked.fault)
    assert len(engine.steps) == 1


@BOTH
@pytest.mark.parametrize(
    "raw",
    ["data: {broken\n\ndata: [DONE]\n\n", "data: 17\n\n", 'data: ["a"]\n\n', "{broken}", "[1,2]"],
)
def test_broken_json_is_an_error(endpoint_of: object, raw: str) -> None:
    asked, engine = asked_with(endpoint_of, Reply(raw=raw, times=9))
    assert asked.fault.kind == "failed"
    assert len(engine.steps) == 3


@BOTH
@pytest.mark.parametrize("raw", ['data: {"choices": [{"ind', "data: [DO", '{"choices": ['])
def test_a_stream_that_ends_inside_a_line_broke_off(endpoint_of: object, raw: str) -> None:
    asked, engine = asked_with(endpoint_of, Reply(raw=raw, framing="close", times=9))
    assert asked.fault.kind == "unavailable"
    assert "broke off" in str(asked.fault)
    assert len(engine.steps) == 3


@BOTH
@pytest.mark.parametrize(
    "raw", ["", "\n\n", ": ping\n\n", "data: [DONE]\n\n", "hello, I am a proxy"]
)
def test_an_empty_or_foreign_body_is_an_error(endpoint_of: object, raw: str) -> None:
    asked, _ = asked_with(endpoint_of, Reply(raw=raw, times=9))
    assert asked.error is not None
    assert asked.kept == []


@BOTH
def test_an_idle_connection_that_was_closed_is_replaced_without_a_word(
    endpoint_of: object,
) -> None:
    import asyncio

    from glmcode.engine.client import connect
    from glmcode.tools.specs import load_specs
    from tests.engine.client_kit import ask, new_transcript

    async def run(engine: FakeEngine) -> list[Asked]:
        client = await connect(endpoint_of(engine), load_specs(), print)  # type: ignore[operator]
        seen = []
        for _ in range(4):
            seen.append(await ask(client, new_transcript()))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(engine.drop_connections)
        await client.close()
        return seen

    with FakeEngine([good()] * 8) as engine:
        for asked in asyncio.run(run(engine)):
            assert asked.reply.text
            assert asked.retries == 0
        assert len(engine.steps) == 4


@BOTH
def test_connections_are_used_again(endpoint_of: object) -> None:
    from tests.engine.client_kit import converse

    with FakeEngine([good()] * 6) as engine:
        converse(endpoint_of(engine), 6)  # type: ignore[operator]
        assert engine.connections <= 3


@BOTH
def test_the_budget_of_half_a_minute_counts_failed_tries(
    endpoint_of: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "BUDGET_S", 0.5)
    asked, engine = asked_with(endpoint_of, Reply(status=503, delay=0.4, times=9))
    assert asked.fault.kind == "unavailable"
    assert len(engine.steps) <= 3
    assert asked.seconds < 60


def test_a_server_that_never_takes_the_connection_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "CONNECT_S", 0.3)
    monkeypatch.setattr(retry, "MIN_CONNECT_S", 0.1)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        time.sleep(0.1)
        url = f"http://127.0.0.1:{port}"
        for endpoint in (
            Endpoint(base_url=url, model="m", protocol="chat"),
            tokens(FakeEngine([]), base_url=url),
        ):
            asked = ask_once(endpoint)
            assert asked.fault.kind == "unavailable"
            assert "no connection within" in str(asked.fault)
        for filler in fillers:
            filler.close()


def test_stream_options_are_left_out_once_a_server_complains() -> None:
    from tests.engine.client_kit import converse

    with FakeEngine([good()] * 3, reject=["stream_options"]) as engine:
        _, seen, _ = converse(chat(engine), 3)
        assert all(asked.reply.text for asked in seen)
        assert len(engine.steps) == 4
        assert "stream_options" not in engine.steps[-1].json
        assert "stream_options" in seen[0].of(Notice)[0].text


def test_repetition_detection_is_left_out_once_an_engine_complains() -> None:
    from tests.engine.client_kit import converse

    with FakeEngine([good()] * 3, reject=["repetition_detection"]) as engine:
        converse(tokens(engine), 3)
        assert len(engine.steps) == 4
        assert "repetition_detection" not in engine.steps[-1].json["sampling_params"]
        assert engine.steps[-1].json["sampling_params"]["temperature"] == 1.0


def test_without_the_openai_package_chat_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    asked, engine = asked_with(chat, good())
    assert asked.fault.kind == "failed"
    assert "openai package" in str(asked.fault)
    assert not engine.requests


@BOTH
def test_success_without_content_is_an_error(endpoint_of: object) -> None:
    empty = Reply(status=202, raw="", framing="length", times=9)
    asked, engine = asked_with(endpoint_of, empty)
    assert asked.fault.kind == "unavailable"
    assert "sent nothing" in str(asked.fault)
    assert len(engine.steps) == 3


@BOTH
def test_something_that_is_not_http_is_an_error(endpoint_of: object) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.recv(65_536)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        asked = ask_once(endpoint_of(FakeEngine([]), base_url=url))  # type: ignore[operator]
        server.shutdown(socket.SHUT_RDWR)
    assert asked.fault.kind == "unavailable"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "value", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "::none::", "foo://x"]
)
def test_no_proxy_stands_between_us_and_a_server_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    asked, engine = asked_with(chat, good())
    assert asked.error is None
    assert len(engine.steps) == 1


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9", "::none::", "foo://x"])
def test_a_proxy_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("all_proxy", value)
    endpoint = Endpoint(base_url="http://192.0.2.1/v1", model="glm", protocol="chat")

    asked = ask_once(endpoint)
    assert asked.fault.kind == "failed"
    assert "proxy" in str(asked.fault)


def test_nothing_of_the_environment_of_openai_leaves_or_is_logged(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID", "ADMIN_KEY", "CUSTOM_HEADERS"):
        monkeypatch.setenv(f"OPENAI_{name}", "x-leak: leak")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    logging.getLogger("openai").setLevel(logging.DEBUG)  # as OPENAI_LOG=debug does at import
    asked, engine = asked_with(chat, good())
    assert asked.error is None
    assert "leak" not in json.dumps(engine.steps[0].headers)
    assert not logging.getLogger("openai").isEnabledFor(logging.DEBUG)
    assert capfd.readouterr().err == ""


@BOTH
def test_what_an_answer_had_is_kept_though_later_tries_get_nothing(endpoint_of: object) -> None:
    cut = Reply(text="half an answer", ids=IDS, chunk=1, cut_after_events=4)
    asked, _ = asked_with(endpoint_of, cut, Reply(drop=True, times=9))
    assert asked.fault.kind == "unavailable"
    assert [message.stop for message in asked.kept] == ["interrupted"]
