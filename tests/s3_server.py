"""A storage that speaks the language of S3, on this machine: moto's, with faults that a test asks for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, unquote
from urllib.request import Request, urlopen

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIDFORTESTSONLY", "AWS_SECRET_ACCESS_KEY": "notarealsecret/0123456789"}
BUCKET = "pool-bucket"


@dataclass
class Storage:
    """A server with one empty bucket, `BUCKET`.

    Attributes
    ----------
    endpoint : str
        Its address.
    asked : list of (str, str)
        Every request as method and key.
    fault : callable or None
        Looks at method and key of a request before it is served: it may wait, change the bucket, or return a status
        and a code to answer instead.
    """

    endpoint: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    fault: Callable[[str, str], tuple[int, str] | None] | None = None

    def url(self, key: str) -> str:
        return f"s3://{BUCKET}/{key}"

    def put(self, key: str, data: bytes) -> str:
        self._send("PUT", key, data)
        return self.url(key)

    def delete(self, key: str) -> None:
        self._send("DELETE", key)

    def get(self, key: str) -> bytes:
        return self._send("GET", key)

    def count(self, method: str, key: str) -> int:
        return self.asked.count((method, key))

    def clear(self) -> None:
        """Empty the bucket and forget faults and requests."""
        self.fault = None
        urlopen(Request(f"{self.endpoint}/moto-api/reset", method="POST")).close()
        self._send("PUT", "")
        self.asked.clear()

    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
        return {
            **SECRETS, **nowhere, "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def _send(self, method: str, key: str, data: bytes | None = None) -> bytes:
        fault, self.fault = self.fault, None
        try:
            headers = {"Authorization": "AWS test:test", "Content-Type": "application/octet-stream"}
            request = Request(f"{self.endpoint}/{BUCKET}/{quote(key)}", data=data, method=method, headers=headers)
            with urlopen(request) as answer:
                return answer.read()
        finally:
            self.fault = fault


@contextmanager
def serving() -> Iterator[Storage]:
    """Run a storage in threads of this process."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_):
            pass

    storage, moto = Storage(), DomainDispatcherApplication(create_backend_app)

    def application(environ, start_response):
        key = unquote(environ["PATH_INFO"]).removeprefix(f"/{BUCKET}").lstrip("/")
        storage.asked.append((environ["REQUEST_METHOD"], key))
        answer = storage.fault(environ["REQUEST_METHOD"], key) if storage.fault is not None else None
        if answer is None:
            return moto(environ, start_response)
        body = f"<Error><Code>{answer[1]}</Code><Message>asked for by a test</Message></Error>".encode()
        start_response(f"{answer[0]} Fault", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
        return [body]

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        storage.endpoint = f"http://127.0.0.1:{server.server_port}"
        storage.clear()
        yield storage
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def slow(key: str, seconds: float) -> Callable[[str, str], None]:
    """A fault: every request for a key takes its time."""

    def wait(_: str, asked: str) -> None:
        if asked == key:
            time.sleep(seconds)

    return wait


def nth(count: int, method: str, key: str, act: Callable[[], tuple[int, str] | None]) -> Callable[..., object]:
    """A fault: something happens before the request with this number, from 1, of a method for a key is served."""
    left = [count]

    def meet(asked: str, at: str) -> tuple[int, str] | None:
        if (asked, at) != (method, key):
            return None
        left[0] -= 1
        return act() if left[0] == 0 else None

    return meet
