"""Who may ask the page for anything, and what nobody gets."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import picture

pytest.importorskip("starlette", reason="needs the extra `page`")

import uvicorn
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from uvicorn.server import ServerState

from stylebatch.errors import StylebatchError
from stylebatch.images.options import ImageOptions
from stylebatch.manifest import NAME, written_in
from stylebatch.page.browse import listing, under
from stylebatch.page.forms import check_names, described, read
from stylebatch.page.photos import Photos, plain_name
from stylebatch.page.queue import Entry
from stylebatch.page.replies import answering, failure
from stylebatch.page.results import results_of
from stylebatch.page.security import Guard, token_in
from stylebatch.page.server import Connection
from stylebatch.video.options import VideoOptions

PORT, TOKEN = 8642, "secret"
HERE = f"127.0.0.1:{PORT}"


def answer(path: str = "/api/styles", method: str = "GET", **headers: str) -> Response:
    """What the guard lets through to an application that answers everything."""
    sent: list[dict[str, Any]] = []
    path, _, query = path.partition("?")
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in ({"host": HERE} | headers).items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": raw}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(PlainTextResponse("answered"), TOKEN, PORT)(scope, receive, send))
    given = Response(sent[1]["body"], sent[0]["status"])
    given.raw_headers = sent[0]["headers"]
    return given


BEARER = {"authorization": f"Bearer {TOKEN}"}
COOKIE = {"cookie": f"a=b; stylebatch-{PORT}={TOKEN}"}


@pytest.mark.parametrize("given", [BEARER, COOKIE], ids=["program", "browser"])
@pytest.mark.parametrize("host", [HERE, f"localhost:{PORT}", f"[::1]:{PORT}", "192.168.1.5:80"])
def test_who_has_the_token_is_answered(given: dict[str, str], host: str) -> None:
    assert answer(**given, host=host).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer "},
        {"cookie": f"stylebatch-{PORT}=wrong"},
        {"cookie": f"stylebatch-{PORT + 1}={TOKEN}"},
        {"cookie": "stylebatch-8642"},
    ],
)
def test_who_has_not_is_told_where_it_is_and_nothing_else(given: dict[str, str]) -> None:
    refused = answer(**given)
    assert refused.status_code == 401
    assert b"stylebatch page" in bytes(refused.body)
    assert answer("/static/main.js", **given).status_code == 401
    assert answer("/?token=wrong", **given).status_code == 401
    assert bytes(answer("/", accept="text/html", **given).body).startswith(b"<!doctype html>")


def test_the_address_that_is_opened_becomes_a_cookie_that_no_script_and_no_other_page_sees() -> None:
    opened = answer(f"/?token={TOKEN}")
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"].lower()
    assert f"stylebatch-{PORT}={TOKEN}" in cookie
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize("host", ["evil.example:8642", "", "evil.example", "127.0.0.1.evil.example", "[", "a b"])
def test_a_name_that_was_made_to_lead_here_is_refused(host: str) -> None:
    assert answer(**BEARER, host=host).status_code == 403


def test_a_name_is_shown_as_text() -> None:
    shown = answer(accept="text/html", host="<script>alert(1)</script>")
    assert b"<script>" not in bytes(shown.body)
    assert "script-src" not in shown.headers["content-security-policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"http://127.0.0.1:{PORT + 1}"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_another_page_may_not_ask_whatever_cookie_comes_along(headers: dict[str, str]) -> None:
    assert answer(method="POST", **COOKIE, **headers).status_code == 403


def test_this_page_may_and_a_link_to_it_may_lie_anywhere() -> None:
    assert answer(method="POST", **COOKIE, origin=f"http://{HERE}", sec_fetch_site="same-origin").status_code == 200
    assert answer("/", **COOKIE, sec_fetch_site="cross-site", sec_fetch_mode="navigate").status_code == 200


def test_answers_keep_other_hosts_out_of_the_page_and_the_page_out_of_others() -> None:
    headers = answer(**BEARER).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_the_token_stays_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    token = token_in(path)
    assert len(token) >= 32
    assert token_in(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("")
    assert token_in(path) not in ("", token)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "in" / "deep").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "root-beside").mkdir()
    for name in ("in/a.jpg", "in/clip.mp4", "in/notes.txt", "in/.hidden.jpg"):
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    "path", ["..", "../outside", "in/../../outside", "/etc", "../root-beside", "out", "out/new", "in/\0"]
)
def test_nothing_outside_the_root_is_reached(root: Path, path: str) -> None:
    (root / "out").symlink_to(root.parent / "outside")
    with pytest.raises(StylebatchError, match=r"outside of|not a path"):
        under(root, path)


def test_what_is_under_the_root_is_reached_by_any_of_its_names(root: Path) -> None:
    (root / "link").symlink_to(root / "in")
    assert under(root, "in/deep/..") == under(root, "link") == under(root, str(root / "in")) == root / "in"
    assert under(root, "new/folder") == root / "new" / "folder"
    assert under(root, "") == root


def test_a_folder_is_listed_without_what_leads_out_of_the_root(root: Path) -> None:
    (root / "in" / "away").symlink_to(root.parent / "outside")
    os.close(os.open(os.fsencode(root / "in") + b"/\xff.jpg", os.O_CREAT))
    told = listing(root, "in")
    assert told["folders"] == ["deep"]
    assert told["films"] == ["clip.mp4"]
    assert told["photos"] == ["a.jpg"]
    assert told["parent"] == ""
    assert listing(root, "")["parent"] is None
    with pytest.raises(StylebatchError, match="no such folder"):
        listing(root, "in/a.jpg")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\cat.jpg", "cat.jpg"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("a\nb\x1b.png", "a_b_.png"),
        (".hidden", "hidden"),
        ("é" * 200 + ".jpeg", "é" * 57 + ".jpeg"),
    ],
)
def test_a_name_that_came_with_an_upload_is_a_name_alone(given: str, kept: str) -> None:
    assert plain_name(given) == kept


@pytest.mark.parametrize("content", [b"", b"hello", b"#!/bin/sh\nrm -rf /\n", b"\xff\xd8\xff", b"<svg onload='alert(1)'/>"])
def test_what_is_no_picture_is_refused_and_not_kept(tmp_path: Path, content: bytes) -> None:
    photos = Photos(tmp_path)
    arrived = photos.arriving("cat.jpg")
    arrived.write_bytes(content)
    with pytest.raises(HTTPException, match=r"cat\.jpg") as refused:
        photos.add(arrived)
    assert refused.value.status_code == 415
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    photos = Photos(tmp_path)
    arrived = photos.arriving("bomb.png")
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(bytes(100_000))
    chunks = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in (header, pixels))
    arrived.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(HTTPException, match="over the limit of 120 megapixels") as refused:
        photos.add(arrived)
    assert refused.value.status_code == 413


def test_so_many_photographs_are_kept_and_no_more(tmp_path: Path) -> None:
    from PIL import Image

    photos = Photos(tmp_path, most=2)
    ids = []
    for number in range(4):
        arrived = photos.arriving(f"{number}.png")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(arrived)
        ids.append(photos.add(arrived).id)
        os.utime(tmp_path / ids[-1], (number, number))
    assert photos.find(ids[3]).path.name == "3.png"
    for dropped in (ids[0], "../../etc", "0" * 32):
        with pytest.raises(HTTPException, match="no such photograph"):
            photos.find(dropped)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quality": "high"}, "quality: 'high' is not a whole number"),
        ({"quality": True}, "quality: True is not a whole number"),
        ({"quality": 200}, "quality 200: must be from 1 to 100"),
        ({"strip_metadata": "perhaps"}, "strip metadata: 'perhaps' is not true or false"),
        ({"format": 7}, "format: 7 is not text"),
    ],
)
def test_values_that_are_wrong_are_refused_as_the_commands_do(given: dict[str, Any], message: str) -> None:
    with pytest.raises(StylebatchError, match=message):
        read(ImageOptions, given)


def test_forms_and_addresses_give_the_commands_options() -> None:
    assert read(ImageOptions, {"size": "512px", "preserve_color": "true", "quality": ""}) == ImageOptions(
        size=512, preserve_color=True
    )
    assert read(VideoOptions, {"start": "1:30", "steady": "50%", "fps": "30000/1001"}) == VideoOptions(
        start=90, steady=0.5, fps=VideoOptions(fps=read(VideoOptions, {"fps": "30000/1001"}).fps).fps
    )
    assert read(ImageOptions, {"preserve_color": "30%"}) == read(ImageOptions, {"preserve_color": 0.3})
    by_name = {each["name"]: each for each in described(VideoOptions)}
    assert by_name["on_corrupt"]["choices"] == ["fail", "repeat"]
    assert (by_name["crf"]["type"], by_name["crf"]["most"]) == ("integer", 63)
    with pytest.raises(StylebatchError, match="qualty: no such option"):
        check_names({"qualty": 1}, ImageOptions)


@pytest.mark.parametrize(
    "beginning", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "], ids=["silent", "letter by letter"]
)
def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch, beginning: bytes) -> None:
    monkeypatch.setattr(Connection, "patience", 0.3)

    async def run() -> float:
        config = uvicorn.Config(PlainTextResponse("answered"), http=Connection, log_config=None, lifespan="off")
        config.load()
        loop, state = asyncio.get_running_loop(), ServerState()
        server = await loop.create_server(lambda: Connection(config, state, {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in await reader.readline()
            start = loop.time()
            writer.write(beginning)
            dripping = asyncio.create_task(_drip(writer))
            await asyncio.wait_for(reader.read(), 10)
            dripping.cancel()
            writer.close()
            return loop.time() - start

    assert 0.2 < asyncio.run(run()) < 5


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(0.1)
        writer.write(b"a")


def test_results_are_those_that_lie_in_the_output(tmp_path: Path) -> None:
    """A manifest may have come with a folder, and links lead anywhere."""
    source, output = tmp_path / "in", tmp_path / "out"
    for path in (tmp_path / "secret.png", source / "real.png", output / "real.png"):
        path.parent.mkdir(exist_ok=True)
        picture(8, 8).save(path)
    (output / "linked.png").symlink_to(tmp_path / "secret.png")
    (source / "linked.png").symlink_to(tmp_path / "secret.png")
    names = ("real.png", "linked.png", "../secret.png", str(tmp_path / "secret.png"))
    record = {"content": "0", "digest": "0", "input": "in", "key": "0", "size": 1}
    (output / NAME).write_text("".join(json.dumps({**record, "output": name}) + "\n" for name in names))
    assert written_in(output) > {"real.png", "linked.png"}
    entry = Entry("1", "folder", "in", {"source": str(source), "output": str(output)})
    assert [(each.name, each.original) for each in results_of(entry)] == [("real.png", source / "real.png")]


def test_an_error_is_one_line_without_a_trace() -> None:
    async def broken(_request: Request) -> Response:
        raise ZeroDivisionError("division by zero in a secret place")

    told = asyncio.run(answering(broken)(Request({"type": "http", "method": "GET", "path": "/", "headers": []})))
    assert told.status_code == 500
    assert b"secret" not in bytes(told.body)
    assert b"Traceback" not in bytes(told.body)
    assert bytes(failure("say `on_corrupt`", 400).body) == b'{"error":"say on_corrupt"}'
