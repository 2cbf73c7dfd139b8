"""A real HTTP server of the `/v1/embeddings` protocol that answers well, or as badly as a test says."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def vector(text, dim=4):
    """What the server answers for a text: another vector for each."""
    return [float(len(text)), float(sum(map(ord, text)) % 997), 0.5, *[1.0] * (dim - 3)]


def good(request):
    """An answer like vLLM's."""
    data = [{"object": "embedding", "index": k, "embedding": vector(text)} for k, text in enumerate(request["input"])]
    tokens = sum(len(text.split()) for text in request["input"])
    return {"object": "list", "model": "m-1", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


class Server:
    """A real HTTP server that answers well, except where `faults` says otherwise: one for each request after the probe.

    A fault is a function of (handler, request), which answers itself or returns a body for status 200; None: answer
    well.
    """

    def __init__(self):
        self.requests, self.headers, self.faults, self.always = [], [], [], None
        self.at_once = self.most_at_once = 0
        self.lock, self.hold, self.gate = threading.Lock(), 0.0, threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.requests.append((self.path, request))
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                    probe = len(outer.requests) == 1
                    fault = outer.faults.pop(0) if outer.faults and not probe else outer.always
                try:
                    time.sleep(outer.hold)
                    body = fault(self, request) if fault else good(request)
                    if body is not None:
                        self.answer(200, body)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                finally:
                    with outer.lock:
                        outer.at_once -= 1

            def answer(self, status, body, headers=()):
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(raw)), **dict(headers)}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        """Let go of whoever waits, and end."""
        self.gate.set()
        self.http.shutdown()
        self.http.server_close()
