"""Vectors from a server through the command line: found again, gone on with after a failure, the key in no file."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openai")
from embedding_server import Server, vector
from tasksift import model_features
from tasksift.represent import endpoint

KEY = "sk-secret-0123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server; who asks it does not wait before another attempt, and gives up after three."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(
        endpoint, "Endpoint", partial(endpoint.Endpoint, wait=lambda seconds: None, attempts=3, batch=4)
    )
    monkeypatch.setattr(model_features, "SHARD_ROWS", 16)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def embed(server: Server) -> list[object]:
    """The command, without its output."""
    return ["embed", "pool.jsonl", "-r", "endpoint", "--model", "m", "--url", server.url, "--concurrency", 1, "--out"]


def texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def asked(server: Server, since: int = 0) -> list[str]:
    """The texts of the server's requests, without the first of every run."""
    return [text for _, request in server.requests[since:] for text in request["input"] if text != "a text"]


def fail_after(server: Server, count: int) -> None:
    """Let so many requests through, then answer none."""
    left = iter(range(count))

    def fault(handler: Any, request: dict[str, Any]) -> None:
        if next(left, None) is None:
            handler.answer(500, {"error": {"message": f"out of\nmemory for {KEY}"}})
        else:
            handler.answer(200, good_body(request))

    server.always = fault


def good_body(request: dict[str, Any]) -> dict[str, Any]:
    data = [{"index": k, "embedding": vector(text)} for k, text in enumerate(request["input"])]
    return {"model": "m-1", "data": data, "usage": {"total_tokens": len(data)}}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stored(folder: Path) -> np.ndarray[Any, Any]:
    return np.concatenate([np.load(path) for path in sorted(folder.glob("*.npy"))])


def test_what_was_embedded_is_found_by_a_selection(
    tasksift: Callable[..., Any], folder: Path, server: Server, embed: list[object]
):
    pool, target = texts(folder / "pool.jsonl"), texts(folder / "target.jsonl")
    done = tasksift(*embed, "features", "--json")
    assert done.code == 0, done.err
    assert sorted(asked(server)) == sorted(pool)
    np.testing.assert_array_equal(stored(folder / "features"), np.float32([[*vector(text), 0] for text in pool]))
    manifest = json.loads(done.out)
    assert (manifest["rows"], manifest["model"]["endpoint_model"], manifest["model"]["dim"]) == (60, "m", 4)
    before = len(server.requests)
    # Neither address nor model are told again, and only the targets are sent.
    done = tasksift("select", "pool.jsonl", "-t", "target.jsonl", "-b", 5, "--features", "features", "-o", "a.jsonl")
    assert done.code == 0, done.err
    assert asked(server, before) == target
    # What the server offers under that name now is another model.
    server.always = lambda handler, request: good_body(request) | {"model": "m-2"}
    done = tasksift("select", "pool.jsonl", "-t", "target.jsonl", "-b", 5, "--features", "features", "-o", "b.jsonl")
    assert (done.code, (folder / "b.jsonl").exists()) == (2, False)
    assert "features holds other features (made.reported_model: 'm-1' there, 'm-2' here)" in done.err


def test_usage_is_said_once_at_the_end(tasksift: Callable[..., Any], folder: Path, server: Server, embed: list[object]):
    server.always = lambda handler, request: good_body(request)
    done = tasksift(*embed, "features", "--price", 1e6)
    assert done.err.count("m: 16 requests (retries: 0), 61 tokens, cost 61.0000\n") == 1
    assert done.err.count(" tokens") == 1
    done = tasksift("select", "pool.jsonl", "-t", "target.jsonl", "-b", 5, "--features", "features", "-o", "a.jsonl")
    assert done.err.count("m: 2 requests (retries: 0), 4 tokens, cost 4.0000\n") == 1
    assert tasksift(*embed, "others", "--quiet").err == ""


def test_a_server_that_fails_in_the_middle_loses_nothing(
    tasksift: Callable[..., Any], folder: Path, server: Server, embed: list[object]
):
    assert tasksift(*embed, "whole").code == 0
    before = len(server.requests)
    fail_after(server, 10)  # the first one of the run, two shards of four, one of the third
    done = tasksift(*embed, "features", "--quiet")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"tasksift: {server.url}/v1: no vectors for pool.jsonl, line 37 and 3 more after 3 ")
    assert "HTTP 500: out of memory" in done.err
    pool = texts(folder / "pool.jsonl")
    assert set(asked(server, before)) >= set(pool[:40])
    shards = sorted((folder / "features").glob("*.npy"))
    assert len(shards) == 2
    # The same command asks for the other shards only, and ends with the same bytes.
    server.always, before = None, len(server.requests)
    done = tasksift(*embed, "features")
    assert done.code == 0
    assert asked(server, before) == pool[32:]
    assert snapshot(folder / "features") == snapshot(folder / "whole")
    assert not list(folder.glob("*.part"))
    # Once more: nothing is left to ask for. Rows that are appended: only these.
    before = len(server.requests)
    assert tasksift(*embed, "features").code == 0
    assert asked(server, before) == []
    with (folder / "pool.jsonl").open("a") as file:
        file.writelines(json.dumps({"text": f"new {k}", "source": "new"}) + "\n" for k in range(5))
    assert tasksift(*embed, "features").code == 0
    assert asked(server, before) == [f"new {k}" for k in range(5)]


def test_the_key_is_sent_and_kept_nowhere(
    tasksift: Callable[..., Any],
    folder: Path,
    server: Server,
    embed: list[object],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("SERVER_KEY", KEY)
    said = []
    done = tasksift(*embed, "features", "--api-key-env", "SERVER_KEY", "--json")
    said.append(done)
    assert done.code == 0, done.err
    select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 5, "--features", "features", "-o", "a.jsonl"]
    # A folder does not say which key a server is sent: it may be a stranger's.
    said.append(tasksift(*select, "--json", "--api-key-env", "SERVER_KEY"))
    assert said[-1].code == 0, said[-1].err
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    options = json.loads((folder / "features" / "representation.json").read_text())
    assert (options["url"], options["api_key_env"]) == (server.url, "SERVER_KEY")
    said.append(tasksift(*select, "--json", "--force"))
    assert server.headers[-1]["authorization"] != f"Bearer {KEY}"
    fail_after(server, 3)
    said.append(tasksift(*embed, "others", "--api-key-env", "SERVER_KEY"))
    assert "out of memory for ***" in said[-1].err
    server.always = lambda handler, request: handler.answer(401, {"error": {"message": f"{KEY} is not known"}})
    said.append(tasksift(*embed, "others", "--api-key-env", "SERVER_KEY"))
    assert "refuses (HTTP 401: *** is not known)" in said[-1].err
    said.append(tasksift(*embed[:7], server.url.replace("//", f"//me:{KEY}@"), "--out", "more"))
    said.append(tasksift(*embed[:7], server.url + f"?key={KEY}", "--out", "more"))
    assert [done.code for done in said] == [0, 0, 0, 2, 2, 2, 2]
    assert not any(KEY in done.out + done.err for done in said)
    assert not [name for name, content in snapshot(folder).items() if KEY.encode() in content]
    assert len(list(folder.glob("features/*.npy"))) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-r", "endpoint", "--model", "m"],
            "--representation endpoint needs --url: Where an OpenAI-compatible server",
        ),
        (["-r", "endpoint", "--url", "http://127.0.0.1:1"], "--representation endpoint needs --model: Folder or hub"),
        (
            ["-r", "endpoint", "--model", "m", "--url", "localhost:1"],
            "--url 'localhost:1' is no address of an embeddin",
        ),
        (["--url", "http://127.0.0.1:1"], "--url does not apply to --representation tfidf; leave it out"),
        (["-r", "encoder", "--model", "m", "--timeout", 3], "--timeout does not apply to --representation encoder; le"),
        (["-r", "loss", "--model", "m", "--metrics", "loss,foo"], "--metrics foo does not exist; use some of loss, pe"),
        (["-r", "loss", "--model", "m", "--store-dtype", "float16"], "--store-dtype does not apply to --representatio"),
    ],
)
def test_faults_are_said_before_the_pool_is_read(
    tasksift: Callable[..., Any], folder: Path, options: list[object], message: str
):
    (folder / "pool.jsonl").write_text("{oops\n")
    done = tasksift("embed", "pool.jsonl", "--out", "features", *options)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"tasksift: {message}")
    assert not (folder / "features").exists()


def test_limits_and_lengths_reach_the_server(
    tasksift: Callable[..., Any], folder: Path, server: Server, embed: list[object]
):
    assert tasksift(*embed, "features", "--dim", 4, "--max-characters", 9, "--tokens-per-minute", 1e9).code == 0
    assert sorted(asked(server)) == sorted(text[:9] for text in texts(folder / "pool.jsonl"))
    assert all(request["dimensions"] == 4 for _, request in server.requests)
    before = len(server.requests)
    select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 5, "--features", "features", "-o", "a.jsonl"]
    assert tasksift(*select).code == 0
    assert asked(server, before) == [text[:9] for text in texts(folder / "target.jsonl")]
    done = tasksift(*embed, "features", "--dim", 4, "--max-characters", 8)
    assert (done.code, "made.max_characters: 9 there, 8 here" in done.err) == (2, True)
