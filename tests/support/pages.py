"""`stylebatch page` as a process of its own, and what is asked of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """One that runs.

    Attributes:
        address: as it is printed, with the token.
        told: what it has said on standard error.
    """

    address: str
    root: Path
    process: subprocess.Popen[str]
    told: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    @property
    def token(self) -> str:
        return parse_qs(urlsplit(self.address).query)["token"][0]

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        query: dict[str, Any] | None = None,
        body: bytes | None = None,
        sent: Any = None,
        headers: dict[str, str] | None = None,
        token: str | None = "",
    ) -> Answer:
        """One request. `sent` goes as JSON; without a token of its own, or None, the server's is sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            given = {} if token is None else {"Authorization": f"Bearer {token or self.token}"}
            if sent is not None:
                body, given["Content-Type"] = json.dumps(sent).encode(), "application/json"
            connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, {**given, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def end(self, how: int = signal.SIGINT) -> int:
        """Its exit status."""
        self.process.send_signal(how)
        return self.process.wait(timeout=30)


@contextmanager
def page(root: Path, data: Path, *options: str) -> Iterator[Server]:
    """A server of `root` that keeps what it has to in `data`."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "XDG_DATA_HOME": str(data)}
    process = subprocess.Popen(
        [sys.executable, "-m", "stylebatch", "page", "--no-browser", "--port", "0", "--root", str(root), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    output, errors = process.stdout, process.stderr
    assert output
    assert errors
    told: list[str] = []
    listener = threading.Thread(target=lambda: told.extend(errors), daemon=True)
    listener.start()
    try:
        address = output.readline().strip()
        assert address, "".join(told)
        yield Server(address, root, process, told)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        listener.join(5)
        output.close()
        errors.close()
