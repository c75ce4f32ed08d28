"""A web server on loopback that answers as a test tells it to."""

import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass
class Answer:
    """One answer: what is sent, what is said of it, and how it goes wrong.

    `cut` bytes are kept back although they are announced, or `after` seconds pass first.
    """

    status: int = 200
    body: bytes | None = None
    headers: dict = field(default_factory=dict)
    cut: int = 0
    after: float = 0


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        path = unquote(self.path)
        with self.server.lock:
            script = self.server.script.get(path, [])
            answer = script.pop(0) if script else Answer()
            self.server.asked.append((path, self.headers.get("Range")))
        time.sleep(answer.after + self.server.latency)
        if answer.status != 200 or answer.body is not None:
            self._send(answer.status, answer.body or b"", answer)
        else:
            self._send_file(path.partition("?")[0], answer)

    def _send_file(self, path, answer):
        content = self.server.files.get(path, path.encode())
        found = RANGE.fullmatch(self.headers.get("Range") or "") if self.server.ranges else None
        if not found:
            self._send(200, content, answer)
            return
        first = int(found[1]) if found[1] else max(0, len(content) - int(found[2]))
        last = int(found[2]) if found[1] and found[2] else len(content) - 1
        if first >= len(content):
            self._send(416, b"", Answer(headers={"Content-Range": f"bytes */{len(content)}"}))
            return
        part = content[first : last + 1]
        said = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        answer.headers["Content-Range"] = said
        self._send(206, part, answer)

    def _send(self, status, body, answer):
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) - answer.cut])

    def log_message(self, *arguments):
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """Say nothing of a client that went away."""


@contextmanager
def serving(ranges=True):
    """Serve `files` by path; `script` holds other answers, `asked` the requests that came."""
    httpd = _Quiet(("127.0.0.1", 0), _Answering)
    httpd.files, httpd.script, httpd.asked = {}, {}, []
    httpd.latency, httpd.ranges, httpd.lock = 0.0, ranges, threading.Lock()
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=partial(httpd.serve_forever, 0.01))
    thread.start()
    try:
        yield httpd
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
