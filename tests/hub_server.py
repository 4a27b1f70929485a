"""A small server of the hub's protocol on a loopback port: listing, and files with ranges, cut off on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server has, and what it was asked for.

    Attributes:
        files: path in the repository -> content.
        cuts: path -> bytes after which the connection is closed, for one download of it after the other.
        substitutes: path -> bytes that are sent in place of the content (a damaged file).
        downloads: (path, first byte) of every download, in order.
    """

    files: Mapping[str, bytes]
    cuts: dict[str, list[int]] = field(default_factory=dict)
    substitutes: dict[str, bytes] = field(default_factory=dict)
    downloads: list[tuple[str, int]] = field(default_factory=list)


@contextmanager
def running_hub(repository: str, hub: Hub) -> Iterator[str]:
    """Serve `hub` as `repository`; yields the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith(f"/api/models/{repository}"):
                siblings = [_entry(name, content) for name, content in hub.files.items()]
                self._json({"id": repository, "sha": COMMIT, "siblings": siblings})
            elif path.startswith(f"/{repository}/resolve/{COMMIT}/"):
                self._file(path.removeprefix(f"/{repository}/resolve/{COMMIT}/"))
            else:
                self._json({"error": "Repository not found"}, 404)

        def _json(self, body: object, status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _file(self, name: str) -> None:
            content = hub.substitutes.get(name, hub.files[name])
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            hub.downloads.append((name, start))
            body = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            cuts = hub.cuts.get(name)
            if cuts:
                self.wfile.write(body[: cuts.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _entry(name: str, content: bytes) -> dict[str, object]:
    """As the hub lists a file: weights as LFS objects with a SHA-256, the rest with their git blob's id."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
    if name.endswith((".ckpt", ".pth", ".bin")):
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
    return entry
