import email.utils
import json
import time

import numpy as np
import pytest

pytest.importorskip("openai")
from embedding_server import Server, good, vector
from tasksift.errors import InputError, MissingExtraError
from tasksift.represent import endpoint as module
from tasksift.represent.endpoint import Endpoint
from tasksift.represent.endpoint_pace import Usage
from tasksift.rows.example import Example, Turn

KEY = "sk-secret-0123456789"


def examples(n, text="text {}"):
    return [Example((Turn("document", text.format(k)),), f"pool.jsonl, row {k}") for k in range(n)]


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def connect(server, waits):
    def connect(**options):
        return Endpoint(server.url, "m", **{"wait": waits.append, "batch": 2, "concurrency": 1, **options})

    return connect


def expected(rows):
    return np.array([vector(example.text) for example in rows], dtype=np.float32)


def status(code, body, headers=()):
    return lambda handler, request: handler.answer(code, body, headers)


def changed(change):
    """A good answer, changed before it is sent."""

    def answer(handler, request):
        body = good(request)
        return change(body) or body

    return answer


def truncated_json(handler, request):
    handler.answer(200, json.dumps(good(request)).encode()[:-30])


def short_of_its_length(handler, request):
    raw = json.dumps(good(request)).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(raw)))
    handler.end_headers()
    handler.wfile.write(raw[:40])
    handler.close_connection = True


def dropped(handler, request):
    handler.close_connection = True


FAULTS = {
    "500": status(500, {"error": {"message": "out of\nmemory"}}),
    "503 in plain words": status(503, b"loading the model"),
    "408": status(408, b""),
    "409": status(409, b""),
    "truncated JSON": truncated_json,
    "shorter than its length": short_of_its_length,
    "dropped connection": dropped,
    "no JSON": status(200, b"<html>"),
    "a list": lambda handler, request: [1],
    "too few": changed(lambda body: body["data"].pop() and None),
    "too many": changed(lambda body: body["data"].append(body["data"][0])),
    "NaN": changed(lambda body: body["data"][1]["embedding"].__setitem__(2, float("nan"))),
    "null": changed(lambda body: body["data"][1]["embedding"].__setitem__(2, None)),
    "beyond float32": changed(lambda body: body["data"][1]["embedding"].__setitem__(2, 1e300)),
    "another dimension": changed(lambda body: [item["embedding"].append(0.0) for item in body["data"]] and None),
    "ragged": changed(lambda body: body["data"][0]["embedding"].append(0.0)),
    "one index twice": changed(lambda body: body["data"][1].__setitem__("index", 0)),
    "another model": changed(lambda body: body.__setitem__("model", "m-2")),
}


def test_rows_in_the_order_of_the_examples(server, connect):
    endpoint = connect(concurrency=4, batch=3)
    rows = examples(50)
    got = endpoint.transform(rows)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected(rows))
    assert endpoint.dim == 4
    assert endpoint.transform([]).shape == (0, 4)
    assert len(server.requests) == 1 + 17
    assert {path for path, _ in server.requests} == {"/v1/embeddings"}
    assert all(request["model"] == "m" and request["encoding_format"] == "float" for _, request in server.requests)


def test_concurrency_is_used_and_bounded(server, connect):
    endpoint = connect(concurrency=3, batch=1)
    server.hold = 0.02
    rows = examples(24)
    np.testing.assert_array_equal(endpoint.transform(rows), expected(rows))
    assert server.most_at_once == 3


def test_answers_in_another_order_are_put_right(server, connect):
    server.always = changed(lambda body: body["data"].reverse())
    rows = examples(10)
    np.testing.assert_array_equal(connect(batch=5, concurrency=2).transform(rows), expected(rows))


def test_answers_without_an_index_are_in_order(server, connect):
    server.always = changed(lambda body: [item.pop("index") for item in body["data"]] and None)
    rows = examples(6)
    np.testing.assert_array_equal(connect().transform(rows), expected(rows))


@pytest.mark.parametrize("fault", FAULTS)
def test_failures_are_tried_again(server, connect, waits, fault):
    endpoint = connect()
    server.faults = [FAULTS[fault], FAULTS[fault]]
    rows = examples(4)
    np.testing.assert_array_equal(endpoint.transform(rows), expected(rows))
    assert len(server.requests) == 1 + 2 + 2
    assert (endpoint.usage.requests, endpoint.usage.retries) == (5, 2)
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1
    assert 1 <= waits[1] <= 2


@pytest.mark.parametrize("fault", ["500", "truncated JSON", "dropped connection", "NaN"])
def test_failures_that_stay_end_in_one_line(server, connect, fault):
    endpoint = connect(attempts=3)
    server.always = FAULTS[fault]
    with pytest.raises(InputError, match=r"no vectors for pool\.jsonl, row 0 and 1 more after 3 attempts") as raised:
        endpoint.transform(examples(2))
    assert len(server.requests) == 1 + 3
    assert "\n" not in str(raised.value)
    if fault == "500":
        assert "HTTP 500: out of memory" in str(raised.value)
    if fault == "NaN":
        assert "row 1 is not finite" in str(raised.value)


def test_a_server_that_stalls_is_given_up(server, connect):
    endpoint = connect(timeout=0.2)
    server.faults = [lambda handler, request: server.gate.wait(10) and None]
    rows = examples(2)
    np.testing.assert_array_equal(endpoint.transform(rows), expected(rows))
    assert len(server.requests) == 3
    server.always = lambda handler, request: server.gate.wait(10) and None
    with pytest.raises(InputError, match=r"no answer within 0\.2 seconds"):
        connect(timeout=0.2, attempts=1)


def test_nobody_listens(server, waits):
    server.http.server_close()
    with pytest.raises(InputError, match="the connection failed"):
        Endpoint(server.url, "m", attempts=2, wait=waits.append)
    assert len(waits) == 1


def test_retry_after_in_seconds_and_as_a_date(server, connect, waits):
    endpoint = connect()
    limited = {"error": {"message": "slow down"}}
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    server.faults = [status(429, limited, {"Retry-After": "7"}), None, status(429, limited, {"Retry-After": date})]
    rows = examples(2)
    np.testing.assert_array_equal(endpoint.transform(rows), expected(rows))
    assert len(server.requests) == 3
    assert 5 < max(waits) <= 7
    np.testing.assert_array_equal(endpoint.transform(rows), expected(rows))
    assert 90 < max(waits) <= 100


def test_a_wait_that_is_too_long_ends_the_run(server, connect, waits):
    endpoint = connect()
    server.always = status(429, {"error": {"message": "quota used up"}}, {"Retry-After": "7200"})
    with pytest.raises(InputError, match=r"asks to wait 7,200 seconds \(HTTP 429: quota used up\); run again then"):
        endpoint.transform(examples(2))
    assert (len(server.requests), waits) == (2, [])
    server.always = status(429, b"", {"Retry-After": "soon"})
    with pytest.raises(InputError, match="after 6 attempts"):
        endpoint.transform(examples(2))


@pytest.mark.parametrize("code", [401, 403, 404, 405])
def test_refusals_are_not_tried_again(server, connect, monkeypatch, waits, code):
    monkeypatch.setenv("SERVER_KEY", KEY)
    endpoint = connect(api_key_env="SERVER_KEY", concurrency=4)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    server.always = status(code, {"error": {"message": f"no:\n key {KEY} is not for this"}})
    with pytest.raises(InputError, match=rf"refuses \(HTTP {code}: no: key \*\*\* is not for this\)") as raised:
        endpoint.transform(examples(200))
    assert len(server.requests) <= 1 + 4 + 4  # what was under way is waited for, the rest is not sent
    assert waits == []
    seen = repr(raised.value) + json.dumps(endpoint.identity) + str(endpoint.usage)
    error = raised.value
    assert KEY not in seen
    assert error.__suppress_context__


def test_a_missing_key_is_named(server, connect, monkeypatch):
    server.always = status(401, {"error": {"message": "who are you"}})
    with pytest.raises(InputError, match="name the variable with the key in --api-key-env"):
        connect()
    monkeypatch.delenv("SERVER_KEY", raising=False)
    with pytest.raises(InputError, match="--api-key-env SERVER_KEY: that environment variable holds no key"):
        connect(api_key_env="SERVER_KEY")
    monkeypatch.setenv("SERVER_KEY", "sk-ä\n1")
    with pytest.raises(InputError, match="characters that no key has") as raised:
        connect(api_key_env="SERVER_KEY")
    assert "sk-" not in str(raised.value)


WORDS = {
    "OpenAI": {"error": {"message": "too long", "type": "invalid_request_error", "code": None}},
    "vLLM": {"object": "error", "message": "too long", "code": 400},
    "TEI": {"error": "too long", "error_type": "Validation"},
    "FastAPI": {"detail": "too long"},
    "plain": b"too long",
}


@pytest.mark.parametrize(("layout", "code"), [*zip(WORDS, [400, 400, 413, 422, 413], strict=True)])
def test_the_row_that_is_too_long_is_named(server, connect, layout, code):
    endpoint = connect(batch=8)

    def refuse_long(handler, request):
        if max(map(len, request["input"])) > 100:
            return handler.answer(code, WORDS[layout])
        return good(request)

    server.always = refuse_long
    rows = examples(8)
    rows[5] = Example((Turn("document", "y" * 500),), "pool.jsonl, row 5")
    with pytest.raises(InputError, match=rf"row 5, 500 characters, is refused \(HTTP {code}: too long\); .*--max-ch"):
        endpoint.transform(rows)
    assert len(server.requests) == 1 + 6  # 8 rows, 0-3, 4-7, 4-5, 4, 5: halved until it is alone, never tried again
    cut = connect(batch=8, max_characters=100)
    np.testing.assert_array_equal(cut.transform(rows)[5], np.float32(vector("y" * 100)))
    assert cut.identity != endpoint.identity


def test_a_batch_that_is_too_large_is_halved(server, connect):
    def refuse_many(handler, request):
        if len(request["input"]) > 4:
            return handler.answer(422, {"error": "batch size > maximum allowed batch size 4"})
        return good(request)

    server.always = refuse_many
    rows = examples(32)
    endpoint = connect(batch=16)
    np.testing.assert_array_equal(endpoint.transform(rows), expected(rows))
    before = len(server.requests)
    np.testing.assert_array_equal(endpoint.transform(rows), expected(rows))
    assert len(server.requests) == before + 8  # the size that was taken is kept


def test_empty_texts_are_sent_as_a_space(server, connect):
    rows = [Example((Turn("document", text),)) for text in ("", "  \n", "a")]
    got = connect(batch=3).transform(rows)
    assert server.requests[-1][1]["input"] == [" ", " ", "a"]
    np.testing.assert_array_equal(got[0], got[1])


def test_requests_keep_to_the_limit_of_a_minute(connect, waits):
    start = time.monotonic()
    endpoint = connect(requests_per_minute=6, batch=1)  # one in ten seconds, the probe was the first
    endpoint.transform(examples(5))
    spent = time.monotonic() - start
    assert len(waits) == 5
    np.testing.assert_allclose(waits, [10, 20, 30, 40, 50], atol=spent + 1e-6)
    assert max(waits) <= 50


def test_tokens_keep_to_the_limit_of_a_minute(connect, waits):
    start = time.monotonic()
    endpoint = connect(tokens_per_minute=60, batch=1)  # a token a second; the probe had two
    assert endpoint.usage.tokens == 2
    endpoint.transform(examples(3, "one two three four five six seven eight nine ten"))
    spent = time.monotonic() - start
    np.testing.assert_allclose(waits, [2, 12, 22], atol=spent + 1e-6)
    assert endpoint.usage.tokens == 32


def test_usage_and_cost_are_told_now_and_then(connect, monkeypatch):
    lines = []
    endpoint = connect(price_per_million=2e6, say=lines.append)
    endpoint.transform(examples(4))
    assert lines == []
    monkeypatch.setattr(module, "SAY_EVERY", 0)
    endpoint.transform(examples(4))
    monkeypatch.undo()
    endpoint.transform(examples(4))
    assert endpoint.usage == Usage("m", requests=7, retries=0, tokens=2 + 24, price_per_million=2e6)
    assert endpoint.usage.cost == 52
    assert lines == ["m: 5 requests (retries: 0), 18 tokens, cost 36.0000"]
    assert str(Usage("m")) == "m: 0 requests (retries: 0), 0 tokens"


def test_servers_that_report_little(server, connect):
    server.always = lambda handler, request: {"data": good(request)["data"]}
    endpoint = connect(tokens_per_minute=1e9)
    rows = examples(4)
    np.testing.assert_array_equal(endpoint.transform(rows), expected(rows))
    assert (endpoint.usage.tokens, endpoint.usage.cost) == (0, None)
    assert endpoint.identity["reported_model"] is None


def test_identity(server, connect):
    endpoint = connect(dim=4)
    assert server.requests[0][1]["dimensions"] == 4
    assert endpoint.identity == {
        "endpoint_model": "m",
        "reported_model": "m-1",
        "dim": 4,
        "max_characters": None,
    }
    assert connect().identity == endpoint.identity
    assert "dimensions" not in server.requests[-1][1]


def test_a_dimension_that_the_server_has_not(server, connect):
    with pytest.raises(InputError, match=r"^--dim 3: .* gives 4 numbers of m all the same; leave it out$"):
        connect(dim=3)
    server.always = status(400, {"error": {"message": "m does not support matryoshka"}})
    with pytest.raises(InputError, match=r"refuses \(HTTP 400: m does not support matryoshka\); see to --model and "):
        connect(dim=3)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/v1", "use http://HOST:PORT/v1"),
        ("localhost:8000/v1", "use http://HOST:PORT/v1"),
        ("http://", "use http://HOST:PORT/v1"),
        ("http://host:port/v1", "use http://HOST:PORT/v1"),
        ("file:///etc/passwd", "use http://HOST:PORT/v1"),
        (f"http://me:{KEY}@host/v1", "in --api-key-env"),
        (f"ftp://me:{KEY}@host/v1", "use http://HOST:PORT/v1"),
        (f"http://host/v1?key={KEY}", "in --api-key-env"),
    ],
)
def test_addresses(url, words):
    with pytest.raises(InputError, match=words) as raised:
        Endpoint(url, "m")
    assert KEY not in str(raised.value)


def test_addresses_may_name_the_whole_path(server, waits):
    for path in ("/v1/embeddings", "/v1/", "/v1", "", "/"):
        Endpoint(server.url + path, "m", wait=waits.append)
    assert {path for path, _ in server.requests} == {"/v1/embeddings"}


@pytest.mark.parametrize("option", ["dim", "max_characters", "requests_per_minute", "timeout", "batch", "attempts"])
def test_numbers_are_positive(option):
    name = option if option in ("batch", "attempts") else "--" + option.replace("_", "-")
    for value in (0, -1, float("inf"), float("nan")):
        with pytest.raises(InputError, match=f"^{name} {value} for an embedding server: it should be more than 0"):
            Endpoint("http://127.0.0.1:1", "m", **{option: value})


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"tasksift\[openai\]"):
        Endpoint("http://127.0.0.1:1", "m")
