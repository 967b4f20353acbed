"""`stylebatch page` as programs use it: pictures in, pictures out."""

from __future__ import annotations

import http.client
import io
import json
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image
from support.pages import Server, page

from stylebatch import Stylizer
from stylebatch.errors import StylebatchError
from stylebatch.locking import Log

pytest.importorskip("starlette", reason="needs the extra `page`")

from stylebatch.page.server import serve

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("root")
    (root / "in").mkdir()
    picture(96, 64, seed="a").save(root / "in" / "a.png")
    (root / "notes.txt").write_text("no picture")
    with page(root, tmp_path_factory.mktemp("data")) as running:
        yield running
    assert running.process.returncode == 0
    assert not [line for line in running.told if "Traceback" in line]


@pytest.fixture(scope="module")
def photo(server: Server) -> str:
    return str(server.ask("/api/photos", "POST", query={"path": "in/a.png"}).json["id"])


def opened(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


def test_styles_samples_and_folders_are_listed(server: Server) -> None:
    styles = {style["name"]: style for style in server.ask("/api/styles").json["styles"]}
    assert styles["hosi"]["artist"] == "Vincent van Gogh"
    assert styles["hosi"]["family"] == styles["wave"]["family"]
    assert "cat" in server.ask("/api/samples").json["samples"]
    assert opened(server.ask("/api/samples/cat").body).format == "JPEG"
    assert server.ask("/api/browse").json["folders"] == ["in"]


def test_a_preview_is_what_the_stylizer_paints(server: Server, photo: str) -> None:
    pixels = np.asarray(Image.open(server.root / "in" / "a.png").convert("RGB"))
    for style, strength, strokes in (("hosi", 1.0, 1), ("hosi:0.6,wave:0.4", 0.7, 1), ("wave", 1.2, 1), ("la_muse", 1.0, 3)):
        query = {"photo": photo, "style": style, "strength": strength, "strokes": strokes, "size": 96}
        answer = server.ask("/api/preview", query=query)
        assert (answer.status, answer.headers["x-painted"]) == (200, "96x64")
        expected = Stylizer(style, strength=strength, strokes=strokes, backend="torch")(pixels)
        assert psnr(np.asarray(opened(answer.body)), expected) > 24  # of a JPEG of noise


def test_a_preview_in_wide_strokes_keeps_the_photographs_colours(server: Server, photo: str) -> None:
    query = {"photo": photo, "style": "scream", "strokes": 2, "size": 96, "preserve_color": "true"}
    painted = opened(server.ask("/api/preview", query=query).body).convert("YCbCr")
    original = Image.open(server.root / "in" / "a.png").convert("RGB").convert("YCbCr")
    assert painted.size == original.size
    chroma = [np.asarray(each, dtype=float)[..., 1:] for each in (painted, original)]
    assert np.abs(chroma[0] - chroma[1]).mean() < 12


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ({"style": "hosy"}, 400, "did you mean hosi"),
        ({"style": "/etc/passwd"}, 400, "outside of"),
        ({"style": "../x.pth"}, 400, "outside of"),
        ({"strength": "2"}, 400, "strength 2: must be from 0 to 1.5"),
        ({"strength": "nan"}, 400, "strength nan"),
        ({"size": "huge"}, 400, "size 'huge'"),
        ({"size": "99999"}, 400, "size '99999'"),
        ({"photo": "nothing"}, 404, "no such photograph"),
        ({"stile": "hosi"}, 400, "stile: no such option"),
        ({"style": "x" * 5000 + ".pth"}, 400, "not a path"),
    ],
)
def test_a_wrong_wish_is_told_in_a_line(server: Server, photo: str, query: dict[str, str], status: int, told: str) -> None:
    answer = server.ask("/api/preview", query={"photo": photo, **query})
    assert answer.status == status
    assert told in answer.json["error"]
    assert "\n" not in answer.json["error"]


def test_a_picture_in_is_a_picture_out(server: Server) -> None:
    body = (server.root / "in" / "a.png").read_bytes()
    answer = server.ask("/api/image", "POST", query={"style": "wave", "strength": "50%", "name": "å.png"}, body=body)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["content-disposition"].endswith("%C3%A5_wave.png")
    assert opened(answer.body).size == (96, 64)
    expected = Stylizer("wave", strength=0.5)(np.asarray(opened(body).convert("RGB")))
    assert psnr(np.asarray(opened(answer.body).convert("RGB")), expected) > 40
    jpeg = server.ask("/api/image", "POST", query={"format": "jpg", "quality": 50, "size": 48}, body=body)
    assert opened(jpeg.body).format == "JPEG"
    unnamed = server.ask("/api/image", "POST", query={"size": 48}, body=body)
    assert unnamed.headers["content-type"] == "image/png"
    assert unnamed.headers["content-disposition"].endswith("unnamed_hosi.png")


def test_a_closed_tab_ends_its_picture_in_full_size_and_a_draft_does_not_wait_for_it(server: Server, photo: str) -> None:
    Image.new("RGB", (6000, 4500), "teal").save(server.root / "large.jpg")
    large = server.ask("/api/photos", "POST", query={"path": "large.jpg"}).json["id"]
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", f"/api/image?photo={large}", headers={"Authorization": f"Bearer {server.token}"})
    until(lambda: bool(_painting(server)))
    assert server.ask("/api/preview", query={"photo": photo}).status == 200
    assert _painting(server)
    connection.close()
    until(lambda: not _painting(server))


def _painting(server: Server) -> list[str]:
    """The processes that paint in full size."""
    pid = server.process.pid
    commands = [f"/proc/{child}/cmdline" for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [command for command in commands if b"painting" in Path(command).read_bytes()]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_no_picture_is_refused(server: Server) -> None:
    for path in ("/api/image", "/api/photos"):
        answer = server.ask(path, "POST", query={"name": "cat.jpg"}, body=b"#!/bin/sh")
        assert (answer.status, answer.json["error"]) == (415, "cat.jpg: no picture that can be read")
        empty = server.ask(path, "POST", query={"name": "cat.jpg"})
        assert (empty.status, empty.json["error"]) == (400, "cat.jpg: is empty")
        assert server.ask(path, "POST", headers={"Content-Length": str(10**10)}, body=b"").status == 413
    assert server.ask("/api/photos", "POST", query={"path": "../../etc/passwd"}).status == 400
    assert server.ask("/api/photos", "POST", query={"path": "notes.txt"}).status == 415
    picture(300, 200).save(whole := io.BytesIO(), "JPEG")
    cut = server.ask("/api/photos", "POST", query={"name": "cut.jpg"}, body=whole.getvalue()[: len(whole.getvalue()) // 2])
    assert (cut.status, "cut.jpg: cannot be read: truncated" in cut.json["error"]) == (415, True)


def test_a_stream_of_previews_shows_pictures_all_the_time(server: Server, photo: str) -> None:
    statuses: list[int] = []

    def ask(number: int) -> None:
        query = {"photo": photo, "strength": number % 30 / 20, "client": "stream"}
        statuses.append(server.ask("/api/preview", query=query).status)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 409}
    assert statuses.count(200) > 3


def test_half_a_picture_is_told_by_its_name_alone(server: Server) -> None:
    whole = server.ask("/api/samples/cat").body
    answer = server.ask("/api/image", "POST", query={"name": "cat.jpg"}, body=whole[: len(whole) // 2])
    assert answer.status == 400
    assert answer.json["error"].startswith("cat.jpg: broken")


def test_no_token_no_answer(server: Server) -> None:
    assert server.ask("/api/styles", token=None).status == 401
    assert server.ask("/api/styles", token="wrong").status == 401
    assert server.ask("/", headers={"Host": "evil.example"}).status == 403
    assert server.ask("/static/../server.py").status in (401, 404)
    assert server.ask("/static/%2e%2e/server.py").status == 404
    assert server.ask("/nothing").json == {"error": "Not Found"}
    assert server.ask("/api/preview", "DELETE").json == {"error": "Method Not Allowed"}


def test_a_second_server_of_a_root_and_a_taken_port_are_told(server: Server, tmp_path: Path) -> None:
    data = tmp_path / "data"

    def refused(root: Path, port: int, told: str) -> None:
        with pytest.raises(StylebatchError, match=told):
            serve(root, data, "127.0.0.1", port, pytest.fail)

    refused(tmp_path, server.port, f"port {server.port}: .*; --port 0 takes any that is free")
    refused(tmp_path, 70_000, "port 70000: must be from 0 to 65535")
    refused(tmp_path / "none", 0, "none: no such folder")
    lock = Log(data / ".lock")
    refused(tmp_path, 0, "another `stylebatch page` has it")
    lock.close()


def test_the_description_names_every_address_with_its_options(server: Server) -> None:
    told = server.ask("/api/openapi.json").json
    assert told["openapi"].startswith("3.1")
    preview = told["paths"]["/api/preview"]["get"]
    strength = next(each for each in preview["parameters"] if each["name"] == "strength")
    assert strength["schema"] == {"type": "number", "minimum": 0, "maximum": 1.5, "default": 1.0}
    assert all(each["summary"] for methods in told["paths"].values() for each in methods.values())
    shown = (ROOT / "docs" / "page.md").read_text()
    for path, methods in told["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in shown, f"docs/page.md lacks {method} {path}"


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "page.md").read_text(), re.DOTALL)


def test_the_examples_for_curl_do_what_they_say(server: Server, tmp_path: Path) -> None:
    Image.open(server.root / "in" / "a.png").convert("RGB").save(tmp_path / "cat.jpg")
    lines = [line for block in examples("sh") for line in block.splitlines() if line.startswith("curl")]
    assert lines
    for line in lines:
        words = shlex.split(line.replace("$ADDRESS", f"http://127.0.0.1:{server.port}").replace("$TOKEN", server.token))
        done = subprocess.run([*words, "--silent", "--show-error", "--fail"], cwd=tmp_path, capture_output=True, timeout=60)
        assert not done.returncode, done.stderr
    assert opened((tmp_path / "cat_wave.jpg").read_bytes()).size == (96, 64)


def test_the_example_in_python_does_what_it_says(server: Server, tmp_path: Path) -> None:
    Image.open(server.root / "in" / "a.png").convert("RGB").save(tmp_path / "cat.jpg")
    (code,) = examples("python")
    done = subprocess.run(
        [sys.executable, "-c", code, server.address], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert not done.returncode, done.stderr
    assert opened((tmp_path / "cat_wave.jpg").read_bytes()).size == (96, 64)
    assert json.loads(done.stdout.splitlines()[0])
