"""Jobs that the page queues: one after another, stopped, gone on with, shown, and none of them outside the root."""

from __future__ import annotations

import ctypes
import http.client
import io
import json
import os
import shlex
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import picture
from PIL import Image
from support.clips import make_clip
from support.pages import Server, page

from stylebatch.cli import main
from stylebatch.system import hold

pytest.importorskip("starlette", reason="needs the extra `page`")

from stylebatch.page.lanes import Turns
from stylebatch.page.queue import Queue

pytestmark = pytest.mark.slow

WAIT = 300
#: Photographs that take long enough for a job to be stopped in the middle, and such a job.
MANY = 24
LONG = {"kind": "folder", "source": "many", "style": "scream", "precision": "fp32"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for number in range(3):
        (root / "in" / "deep").mkdir(parents=True, exist_ok=True)
        picture(64, 48, seed=str(number)).save(root / "in" / ("deep/" if number else "") / f"{number}.png")
    (root / "in" / "broken.jpg").write_text("no picture")
    picture(32, 32, seed="secret").save(root.with_name("secret.png"))
    (root / "in" / "secret.png").symlink_to(root.with_name("secret.png"))
    (root / "many").mkdir()
    picture(480, 400).save(root / "many" / "00.jpg")
    for number in range(1, MANY):
        shutil.copy(root / "many" / "00.jpg", root / "many" / f"{number:02}.jpg")
    return root


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with page(root, tmp_path_factory.mktemp("data")) as running:
        yield running


def job(server: Server, **told: Any) -> dict[str, Any]:
    answer = server.ask("/api/jobs", "POST", sent=told)
    assert answer.status == 201, answer.body
    return dict(answer.json)


@pytest.fixture(scope="module")
def painted(server: Server) -> dict[str, Any]:
    """A job that is done."""
    return until(server, job(server, kind="folder", source="in", style="wave", quality="90")["id"], "done")


def until(server: Server, id: str, *states: str, done: int = 0, skipped: int = 0) -> dict[str, Any]:
    """The job, once it is in one of these states, has done so many, and has found so many done."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        answer = server.ask(f"/api/jobs/{id}")
        assert answer.status == 200, answer.body
        entry = answer.json
        counts = [entry["told"].get(name, 0) for name in ("done", "skipped")]
        if entry["state"] in states and counts[0] >= done and counts[1] >= skipped:
            return dict(entry)
        assert entry["state"] in (*states, "waiting", "running"), entry
        time.sleep(0.1)
    raise AssertionError(entry)


def test_a_folder_is_painted_and_its_failures_have_names(server: Server, root: Path, painted: dict[str, Any]) -> None:
    assert painted["shown"]["output"] == "in_wave"
    assert painted["told"]["done"] == 3
    failed = sorted(each["path"] for each in painted["told"]["failed"])
    assert failed == ["broken.jpg", "secret.png"]  # which leads out of it
    listed = server.ask(f"/api/jobs/{painted['id']}/results").json
    assert sorted(each["name"] for each in listed["results"]) == ["0.png", "deep/1.png", "deep/2.png"]
    assert all(each["original"] for each in listed["results"])
    with chdir(root):
        again = CliRunner().invoke(main, shlex.split("folder in in_wave --style wave --quality 90 --json"))
    assert json.loads(again.stdout)["skipped"] == 3, "the command line does not go on with what the page has done"


def test_a_folder_of_which_nothing_can_be_painted_has_failed_and_events_tell_of_it(server: Server, root: Path) -> None:
    (root / "broken").mkdir()
    shutil.copy(root / "in" / "broken.jpg", root / "broken")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT)
    connection.request("GET", "/api/events", headers={"Authorization": f"Bearer {server.token}"})
    answer = connection.getresponse()
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    first = json.loads(answer.readline().removeprefix(b"data: "))
    assert {each["id"] for each in first["jobs"]} == set(first["ids"])
    queued = job(server, kind="folder", source="broken")
    told: list[dict[str, Any]] = []
    while not told or told[-1]["state"] in ("waiting", "running"):
        line = answer.readline()
        if line.startswith(b"data: "):
            told += [each for each in json.loads(line[6:])["jobs"] if each["id"] == queued["id"]]
    answer.close()
    connection.close()
    assert "running" in [each["state"] for each in told]
    assert (told[-1]["state"], told[-1]["error"]) == ("failed", "none of them could be painted")
    assert [each["path"] for each in told[-1]["told"]["failed"]] == ["broken.jpg"]
    picture(32, 32, seed="own").save(root / "broken" / "fine.png")
    server.ask(f"/api/jobs/{queued['id']}/resume", "POST")
    until(server, queued["id"], "done")


def test_results_are_shown_and_sent(server: Server, painted: dict[str, Any]) -> None:
    id = painted["id"]
    small = server.ask(f"/api/jobs/{id}/result", query={"name": "0.png", "size": 32})
    assert Image.open(io.BytesIO(small.body)).size == (32, 24)
    original = server.ask(f"/api/jobs/{id}/result", query={"name": "deep/1.png", "original": "true"})
    assert Image.open(io.BytesIO(original.body)).size == (64, 48)
    for name in ("../in/0.png", "broken.jpg", "/etc/passwd", ".stylebatch.jsonl"):
        assert server.ask(f"/api/jobs/{id}/result", query={"name": name}).status == 404
    sent = server.ask(f"/api/jobs/{id}/zip")
    with zipfile.ZipFile(io.BytesIO(sent.body)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["0.png", "deep/1.png", "deep/2.png"]
    assert "content-length" not in sent.headers


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"kind": "folder", "source": ".."}, "outside of"),
        ({"kind": "folder", "source": "/etc"}, "outside of"),
        ({"kind": "folder", "source": "in", "output": "../out"}, "outside of"),
        ({"kind": "folder", "source": "none"}, "none: no such folder"),
        ({"kind": "folder"}, "source: is missing"),
        ({"kind": "folder", "source": ["in"]}, "source: must be text"),
        ({"kind": "folder", "source": "in", "style": "hosy"}, "did you mean hosi"),
        ({"kind": "folder", "source": "in", "style": "/etc/passwd.pth"}, "outside of"),
        ({"kind": "folder", "source": "in", "quality": 1000}, "quality 1000: must be from 1 to 100"),
        ({"kind": "folder", "source": "in", "crf": 18}, "crf: no such option"),
        ({"kind": "folder", "source": "in", "follow_links": True}, "the page does not leave its folder"),
        ({"kind": "video", "source": "in"}, "in: no films in it"),
        ({"kind": "video", "source": "in/none.mp4"}, "in/none.mp4: no such film"),
        ({"kind": "folder", "source": "in", "output": "s3://bucket/out"}, "stylebatch folder takes URLs"),
        ({"kind": "shell", "source": "in"}, "kind: must be folder or video"),
        ({"kind": ["folder"], "source": "in"}, "kind: must be folder or video"),
    ],
)
def test_a_job_that_cannot_be_is_refused(server: Server, told: dict[str, Any], message: str) -> None:
    answer = server.ask("/api/jobs", "POST", sent=told)
    assert answer.status == 400
    assert message in answer.json["error"]


def test_a_training_takes_no_network_from_outside(server: Server) -> None:
    photo = server.ask("/api/photos", "POST", query={"path": "in/0.png"}).json["id"]
    for options in ({"init": "/etc/passwd"}, {"vgg": "../weights.pth"}):
        refused = server.ask("/api/trainings", "POST", sent={"photo": photo, "name": "mine", "options": options})
        assert (refused.status, "outside of" in refused.json["error"]) == (400, True)


def test_jobs_wait_for_each_other_and_can_be_paused_resumed_and_cancelled(server: Server, root: Path) -> None:
    first, second, third = (job(server, **LONG, output=f"out{n}")["id"] for n in range(3))
    until(server, first, "running", done=1)
    assert server.ask(f"/api/jobs/{second}").json["state"] == "waiting"
    assert server.ask(f"/api/jobs/{second}/cancel", "POST").json["state"] == "cancelled"
    assert server.ask(f"/api/jobs/{second}/pause", "POST").status == 409
    assert server.ask(f"/api/jobs/{first}/pause", "POST").json["state"] == "paused"
    paused = server.ask(f"/api/jobs/{first}").json["told"]["done"]
    assert 0 < paused < MANY
    until(server, third, "running", done=1)
    assert server.ask(f"/api/jobs/{first}/resume", "POST").json["state"] == "waiting"
    server.ask(f"/api/jobs/{third}/cancel", "POST")
    assert server.ask(f"/api/jobs/{third}", "DELETE").status in (200, 409)
    ended = until(server, first, "done")
    assert ended["told"]["skipped"] >= paused
    assert len(list((root / "out0").glob("*.jpg"))) == MANY
    assert not (root / "out1").exists()


def test_a_job_says_what_it_is_held_for(server: Server) -> None:
    id = job(server, **LONG, output="held")["id"]
    until(server, id, "running")
    picture(1000, 800).save(large := io.BytesIO(), "JPEG")
    told = {""}

    def save() -> None:
        for _ in range(10):  # a fast machine is done with one before it is told
            if len(told) == 1:
                server.ask("/api/image", "POST", body=large.getvalue())

    saving = Thread(target=save)
    saving.start()
    while saving.is_alive():
        told.add(server.ask(f"/api/jobs/{id}").json["waits_for"])
        time.sleep(0.1)
    assert told == {"", "a picture in full size"}
    assert server.ask(f"/api/jobs/{id}/cancel", "POST").json["waits_for"] == ""


def test_dropped_files_are_painted_into_the_root(server: Server, root: Path) -> None:
    body = (root / "in" / "0.png").read_bytes()
    upload = server.ask("/api/uploads", "POST", query={"name": "../a.png"}, body=body).json["upload"]
    again = server.ask("/api/uploads", "POST", query={"name": "a.png", "upload": upload}, body=body).json
    assert again == {"upload": upload, "name": "_a.png"}
    assert server.ask("/api/uploads", "POST", query={"name": "a.png", "upload": "../jobs"}, body=body).status == 404
    for name, content in (
        ("a.html", b"<html>"),
        ("a.svg", b"<svg/>"),
        ("a.txt", b"hello"),
        ("list.mp4", b"ffconcat version 1.0"),
    ):
        refused = server.ask("/api/uploads", "POST", query={"name": name, "upload": upload}, body=content)
        assert (refused.status, refused.json["error"].partition(":")[0]) == (415, name)
    queued = job(server, kind="folder", upload=upload, output="dropped")
    assert until(server, queued["id"], "done")["told"]["done"] == 2
    assert sorted(path.name for path in (root / "dropped").glob("*.png")) == ["_a.png", "a.png"]


def test_each_film_of_a_folder_is_a_job_and_sent_in_parts(server: Server, root: Path, tmp_path: Path) -> None:
    (root / "clips" / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/b.mp4"):
        make_clip(root / "clips" / name, frames=8, size=(64, 48))
    make_clip(tmp_path / "secret.mp4", frames=4, size=(64, 48))
    (root / "clips" / "secret.mp4").symlink_to(tmp_path / "secret.mp4")
    alone = job(server, kind="video", source="clips/a.mp4", preview="0.2")
    assert alone["shown"]["output"] == "clips/a_hosi_preview.mp4"
    until(server, alone["id"], "done")
    (root / "clips" / "a_hosi_preview.mp4").unlink()
    queued = job(server, kind="video", source="clips", style="wave", preview="0.2")["jobs"]
    assert [each["shown"]["source"] for each in queued] == ["clips/a.mp4", "clips/deep/b.mp4"]
    for each in queued:
        until(server, each["id"], "done")
    assert (root / "clips_wave" / "a_wave_preview.mp4").is_file()
    (result,) = server.ask(f"/api/jobs/{queued[1]['id']}/results").json["results"]
    assert (result["name"], result["original"], result["film"]) == ("b_wave_preview.mp4", True, True)
    assert sorted(str(path.relative_to(root)) for path in (root / "clips_wave").rglob("*.mp4")) == [
        "clips_wave/a_wave_preview.mp4",
        "clips_wave/deep/b_wave_preview.mp4",
    ]
    part = server.ask(f"/api/jobs/{queued[1]['id']}/result", query={"name": result["name"]}, headers={"Range": "bytes=0-99"})
    assert (part.status, len(part.body), part.headers["content-type"]) == (206, 100, "video/mp4")
    (root / "clips" / "secret.mp4").unlink()
    with chdir(root):
        again = CliRunner().invoke(main, shlex.split("video clips clips_wave --style wave --preview 0.2 --json"))
    assert [each["unchanged"] for each in json.loads(again.stdout)["films"]] == [True, True], again.output


def test_numbered_pictures_are_a_film(server: Server, root: Path, tmp_path: Path) -> None:
    """As a folder, and by the pattern of their names."""
    (root / "shot").mkdir()
    for number in range(3):
        picture(64, 48, seed=str(number)).save(root / "shot" / f"{number:02}.png")
    queued = job(server, kind="video", source="shot", output="painted")
    alike = job(server, kind="video", source="shot/%02d.png", output="painted")
    server.ask(f"/api/jobs/{alike['id']}/cancel", "POST")
    assert alike["job"] == queued["job"]
    assert until(server, queued["id"], "done")["told"]["done"] == 3
    listed = server.ask(f"/api/jobs/{queued['id']}/results").json["results"]
    assert [(each["name"], each["original"], each["film"]) for each in listed] == [
        (f"{number:02}.png", True, False) for number in range(3)
    ]
    picture(64, 48).save(tmp_path / "secret.png")
    (root / "shot" / "03.png").symlink_to(tmp_path / "secret.png")
    for source in ("shot", "shot/%02d.png"):
        refused = server.ask("/api/jobs", "POST", sent={"kind": "video", "source": source})
        assert (refused.status, "outside of" in refused.json["error"]) == (400, True)


@contextmanager
def first_process() -> Iterator[None]:
    """This one is it, as in a container: whose parent ends, becomes its child, and has somebody in its session."""
    set_child_subreaper = 36  # PR_SET_CHILD_SUBREAPER of prctl.h
    prctl = ctypes.CDLL(None).prctl
    prctl(set_child_subreaper, 1)
    try:
        yield
    finally:
        prctl(set_child_subreaper, 0)


def test_a_server_that_is_started_again_goes_on(root: Path, tmp_path: Path) -> None:
    """However the last one ended: asked to, killed while its job is held, as during a preview, and that in a container."""
    output, before = root / "again", 0
    with page(root, tmp_path) as server:
        token, id = server.token, job(server, **LONG, output="again")["id"]
        until(server, id, "running", done=1)
        working = _children(server)
        server.end()
    assert working
    _all_ended(server, working)
    for container in (False, True) if sys.platform == "linux" else (False,):
        before, last = len(list(output.glob("*.jpg"))), before
        assert last < before < MANY
        with first_process() if container else nullcontext(), page(root, tmp_path) as server:
            until(server, id, "running", done=1, skipped=before)
            hold(_children(server)[-1])
            server.end(signal.SIGKILL)
    before, last = len(list(output.glob("*.jpg"))), before
    assert last < before < MANY
    with page(root, tmp_path) as server:
        assert server.token == token
        until(server, id, "done", skipped=before)
    assert len(list(output.glob("*.jpg"))) == MANY
    assert not [path for path in output.iterdir() if path.name.startswith(".stylebatch-")]


def test_a_server_that_ends_while_a_job_is_started(root: Path, tmp_path: Path) -> None:
    with page(root, tmp_path) as server:
        id = job(server, **LONG, output="started")["id"]
        until(server, id, "running")
        working = _children(server)
        server.end()
    _all_ended(server, working)


def test_what_is_no_job_in_the_folder_of_jobs_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "7.json").write_text("{")
    (tmp_path / "8.json").write_text("[]")
    (tmp_path / "x.json").write_text("{}")
    assert list(Queue(tmp_path, Turns()).list()) == []


def _children(server: Server) -> list[int]:
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _all_ended(server: Server, processes: list[int]) -> None:
    """Of a server that has ended, which has had no more to say than at its start."""
    assert not [each for each in processes if Path(f"/proc/{each}").exists()]
    assert len(server.told) == 1, server.told


def test_a_job_whose_process_is_killed_says_so_and_goes_on(server: Server, root: Path) -> None:
    id = job(server, **LONG, output="killed")["id"]
    until(server, id, "running", done=1)
    os.kill(_children(server)[-1], signal.SIGKILL)
    failed = until(server, id, "failed")
    assert "ended with status -9" in failed["error"]
    server.ask(f"/api/jobs/{id}/resume", "POST")
    assert until(server, id, "done")["told"]["skipped"] >= 1
    shutil.rmtree(root / "killed")
