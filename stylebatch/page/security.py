"""Who may ask for anything: the holder of the token, from this page or from a program, by a name of this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import ipaddress
import os
import secrets
import socket
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Nothing comes from other hosts, nothing is sent to them, and no other page shows this one.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def token_in(path: Path) -> str:
    """The token that a file holds, which only its owner can read. It is made if it is missing, and stays, so that a page
    that is open finds a server that was started anew.

    Raises:
        OSError: it cannot be read or made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if token := path.read_text(encoding="ascii").strip():
            return token
        path.unlink()
        return token_in(path)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        token = secrets.token_urlsafe(24)
        file.write(token)
    return token


_STYLE = "body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 20vh auto; padding: 0 1.2rem }"
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def _told(text: str, status: int, headers: Headers) -> Response:
    """Why somebody is sent away: for people as a page, for programs as JSON."""
    if "text/html" not in headers.get("accept", ""):
        return JSONResponse({"error": text}, status)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta name="color-scheme" content="light dark"><title>stylebatch</title><style>{_STYLE}</style>'
        f"<h1>stylebatch</h1><p>{html.escape(text[:1].upper() + text[1:])}.</p>"
    )
    return HTMLResponse(page, status, {"Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'"})


class Guard:
    """ASGI middleware: every request passes here first.

    - *Host*: an address in numbers or a name of this machine. A page whose own name was made to lead here (DNS rebinding)
      sends that name.
    - *Token*: in `Authorization: Bearer …`, in the address (`?token=…`), which becomes a cookie, or in that cookie.
    - *Origin*: what a browser sends from another page is refused, whatever cookie comes along.

    Args:
        app: what is guarded.
        token: the secret.
        port: of the server; cookies are shared by all ports of a host, so its name has it.
        names: further names of this machine.
    """

    def __init__(self, app: ASGIApp, token: str, port: int, names: tuple[str, ...] = ()) -> None:
        self._app = app
        self._token = token
        self._cookie = f"stylebatch-{port}"
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        if refusal := self._refusal(headers):
            answer: ASGIApp = _told(refusal, 403, headers)
        elif self._is_token(query.get("token")) and scope["path"] == "/":
            answer = RedirectResponse("/", 303, {"Cache-Control": "no-store"})
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", max_age=365 * 24 * 3600)
        elif not self._may_pass(headers, query):
            answer = _told("the token is missing or wrong: open the address that stylebatch page prints", 401, headers)
            answer.headers["WWW-Authenticate"] = "Bearer"
        else:
            answer = self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, headers: Headers) -> str:
        """Why a request is refused whatever token it has; empty if it is not."""
        host = headers.get("host", "")
        if not self._is_here(host):
            return f"host {host!r}: not a name of this machine; use its address in numbers"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return f"origin {origin!r}: another page may not ask"
        site = headers.get("sec-fetch-site", "none")
        # A link to the page may lie anywhere; it is answered without effect, and asks for the token.
        if site not in ("none", "same-origin") and headers.get("sec-fetch-mode") != "navigate":
            return f"a page of {site.replace('-', ' ')} may not ask"
        return ""

    def _is_here(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def _may_pass(self, headers: Headers, query: QueryParams) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        cookie = cookie_parser(headers.get("cookie", "")).get(self._cookie)
        return any(map(self._is_token, (given if scheme.lower() == "bearer" else None, query.get("token"), cookie)))

    def _is_token(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self._token.encode())
