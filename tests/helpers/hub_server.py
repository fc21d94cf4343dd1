"""A small stand-in for the Hugging Face Hub on this machine: one branch, files kept in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Hub:
    """What the server holds.

    Attributes:
        url: Its endpoint.
        files: Content by ``USER/NAME/path``.
        private: Whether each repository is private.
        requests: Method and path of every request, in order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.private: dict[str, bool] = {}
        self.requests: list[str] = []
        self.token = "hf_good"
        self.summary = ""

    def sha(self, repository: str) -> str:
        content = sorted((k, v) for k, v in self.files.items() if k.startswith(f"{repository}/"))
        return hashlib.sha1(repr(content).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, body: Any, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.hub.requests.append(f"POST {self.path}")
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.hub.private[name] = asked.get("private") or asked.get("visibility") == "private"
            self._answer({"url": f"{self.hub.url}/{name}"})
        elif "/preupload/" in self.path:
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            self._answer({"files": modes})
        elif "/commit/" in self.path:
            repository = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    content = base64.b64decode(value["content"])
                    self.hub.files[f"{repository}/{value['path']}"] = content
                else:
                    self.hub.summary = line["value"]["summary"]
            sha = self.hub.sha(repository)
            self._answer(
                {"commitUrl": f"{self.hub.url}/{repository}/commit/{sha}", "commitOid": sha}
            )
        else:
            self._answer({"errors": [], "warnings": []})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repository = "/".join(parts[2:4])
            names = [
                k.removeprefix(f"{repository}/")
                for k in self.hub.files
                if k.startswith(f"{repository}/")
            ]
            if not names:
                self._answer({"error": "x"}, 404, X_Error_Code="RepoNotFound")
            elif "tree" in parts:
                sizes = {name: len(self.hub.files[f"{repository}/{name}"]) for name in names}
                self._answer(
                    [
                        {"type": "file", "path": n, "size": s, "oid": "0" * 40}
                        for n, s in sizes.items()
                    ]
                )
            else:
                siblings = [{"rfilename": name} for name in names]
                self._answer(
                    {"id": repository, "sha": self.hub.sha(repository), "siblings": siblings}
                )
            return
        repository, name = "/".join(parts[:2]), "/".join(parts[4:])
        content = self.hub.files.get(f"{repository}/{name}")
        if content is None:
            self._answer({"error": "x"}, 404, X_Error_Code="EntryNotFound")
        else:
            etag = hashlib.sha1(content).hexdigest()
            self._answer(content, ETag=f'"{etag}"', X_Repo_Commit=self.hub.sha(repository))


@pytest.fixture
def hub(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, as the endpoint of huggingface_hub, with an empty cache and no stored token."""
    from huggingface_hub import constants

    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield hub
    server.shutdown()
    server.server_close()
