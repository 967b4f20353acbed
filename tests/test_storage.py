"""Folders that a URL names give what a folder here gives, and keep its promises."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from support.clips import LOSSLESS, make_clip

from stylebatch import (
    ImageOptions,
    StylebatchError,
    Stylizer,
    VideoJob,
    VideoSummary,
    run_job,
    stylize_folder,
    stylize_image,
)
from stylebatch.cli.inputs import films_of
from stylebatch.errors import BusyError
from stylebatch.files import atomic_write
from stylebatch.jobs.urls import stylize_photograph
from stylebatch.manifest import NAME, Manifest, Standing
from stylebatch.storage import is_url, storage_of
from stylebatch.storage.local import LocalStorage

NAMES = ("a.jpg", "b.png", "nested/deep/c.jpg", "nested/clear.webp")


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow), "file", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty folder. `local` is a file system by fsspec, which like SFTP makes no folders by itself."""
    name = f"bucket-{uuid.uuid4().hex}"
    if request.param in ("file", "local"):
        return (tmp_path / name).as_uri().replace("file", request.param, 1)
    if request.param == "s3":
        for setting, value in request.getfixturevalue("s3_server").items():
            monkeypatch.setenv(setting, value)
        fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
    return f"{request.param}://{name}"


def files_of(store: str) -> Any:
    return fsspec.core.url_to_fs(store, use_listings_cache=False)


def put(store: str, folder: Path) -> None:
    files, top = files_of(store)
    for path in folder.rglob("*"):
        if path.is_file():
            name = f"{top}/{path.relative_to(folder).as_posix()}"
            files.makedirs(name.rpartition("/")[0], exist_ok=True)
            files.pipe_file(name, path.read_bytes())


def held(store: str) -> dict[str, bytes]:
    files, top = files_of(store)
    return {name.removeprefix(f"{top}/"): files.cat_file(name) for name in files.find(top)}


def pictures(store: str) -> dict[str, bytes]:
    return {name: content for name, content in held(store).items() if name != NAME}


def test_a_store_gives_what_a_folder_gives(
    store: str, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    source = photos(*NAMES)
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (source / "notes.txt").write_text("no picture")
    put(f"{store}/in", source)
    workers = 1 if store.startswith("s3") else 0
    options: dict[str, Any] = {
        "style": str(checkpoint), "device": "cpu", "backend": "torch", "grid": True, "workers": workers
    }  # fmt: skip
    here = stylize_folder(source, tmp_path / "here", **options)
    there = stylize_folder(f"{store}/in", f"{store}/out", **options)
    assert (there.done, there.ignored) == (here.done, here.ignored) == (len(NAMES), ["notes.txt"])
    assert [failure.source for failure in there.failures] == ["broken.jpg"]
    expected = {
        path.relative_to(tmp_path / "here").as_posix(): path.read_bytes()
        for path in (tmp_path / "here").rglob("*")
        if path.is_file() and path.name != NAME
    }
    assert pictures(f"{store}/out") == expected
    again = stylize_folder(f"{store}/in", f"{store}/out", **options)
    assert (again.done, again.skipped) == (0, len(NAMES))
    mixed = stylize_folder(f"{store}/in", tmp_path / "mixed", **options)
    assert mixed.done == len(NAMES)
    assert stylize_folder(source, f"{store}/mixed", **options).done == len(NAMES)
    assert pictures(f"{store}/mixed") == expected


def test_a_store_keeps_what_is_not_ours(store: str, photos: Callable[..., Path], checkpoint: Path) -> None:
    put(f"{store}/in", photos("a.jpg", "b.jpg", "c.jpg"))
    options: dict[str, Any] = {"style": str(checkpoint), "device": "cpu", "backend": "torch", "workers": 0}
    stylize_folder(f"{store}/in", f"{store}/out", **options)
    files, top = files_of(store)
    files.pipe_file(f"{top}/out/a.jpg", b"somebody's retouching")
    files.pipe_file(f"{top}/in/b.jpg", files.cat_file(f"{top}/in/c.jpg"))
    summary = stylize_folder(f"{store}/in", f"{store}/out", **options)
    assert (summary.done, summary.skipped) == (1, 1)
    assert [failure.source for failure in summary.failures] == ["a.jpg"]
    assert files.cat_file(f"{top}/out/a.jpg") == b"somebody's retouching"
    assert files.cat_file(f"{top}/out/b.jpg") == files.cat_file(f"{top}/out/c.jpg")
    with pytest.raises(StylebatchError, match=r"has results of .* made with other options"):
        stylize_folder(f"{store}/in", f"{store}/out", options=ImageOptions(quality=50), **options)


def test_a_store_that_was_left_goes_on(store: str, photos: Callable[..., Path], checkpoint: Path) -> None:
    """Killed before the end, it leaves lines that are not merged, and at most a line whose file did not come."""
    put(f"{store}/in", photos(*NAMES))
    options: dict[str, Any] = {"style": str(checkpoint), "device": "cpu", "backend": "torch", "workers": 0}
    stylize_folder(f"{store}/in", f"{store}/whole", **options)
    with pytest.MonkeyPatch.context() as patch:
        # As if it had not come so far: the system lets go of what a process held.
        patch.setattr(Manifest, "__exit__", lambda manifest, *_: (manifest._log.close(), manifest._records.close()))
        assert stylize_folder(f"{store}/in", f"{store}/out", stop=lambda: False, **options).done == len(NAMES)
    files, top = files_of(store)
    files.rm_file(f"{top}/out/a.jpg")
    summary = stylize_folder(f"{store}/in", f"{store}/out", **options)
    assert (summary.done, summary.skipped) == (1, len(NAMES) - 1)
    assert held(f"{store}/out") == {
        name: content.replace(b"/whole/", b"/out/") for name, content in held(f"{store}/whole").items()
    }


def test_films_come_from_a_store_and_go_to_one(store: str, checkpoint: Path, tmp_path: Path) -> None:
    """As here, and what is there is not replaced, nor made again."""
    clip = make_clip(tmp_path / "in" / "more" / "a.mp4", frames=4, options=LOSSLESS)
    put(f"{store}/in", tmp_path / "in")
    job = VideoJob(
        source=f"{store}/in/more/a.mp4", style=str(checkpoint), device="cpu", backend="torch", output=f"{store}/out/"
    )
    expected = tmp_path / "more.mp4"
    run_job(replace(job, source=str(clip), output=str(expected)))
    assert films_of([f"{store}/in"], f"{store}/out") == [(f"{store}/in/more/a.mp4", f"{store}/out/more/")]
    assert run_job(replace(job, output=f"{store}/out/more.mp4")).done == 4
    assert run_job(replace(job, source=str(clip))).done == 4
    assert pictures(f"{store}/out").keys() == {"more.mp4", "a_plain.mp4"}
    assert pictures(f"{store}/out")["more.mp4"] == expected.read_bytes()
    again = run_job(replace(job, output=f"{store}/out/more.mp4"))
    assert isinstance(again, VideoSummary)
    assert again.unchanged
    assert run_job(replace(job, output=f"{tmp_path}/fetched/more.mp4")).done == 4
    assert (tmp_path / "fetched" / "more.mp4").read_bytes() == expected.read_bytes()
    files, top = files_of(store)
    files.pipe_file(f"{top}/out/more.mp4", b"somebody's cut")
    with pytest.raises(StylebatchError, match=r"more\.mp4: is there, and no result of a\.mp4"):
        run_job(replace(job, output=f"{store}/out/more.mp4"))
    assert files.cat_file(f"{top}/out/more.mp4") == b"somebody's cut"
    with pytest.raises(StylebatchError, match=r"missing\.mp4: no such file"):
        run_job(replace(job, source=f"{store}/in/missing.mp4"))


@pytest.mark.slow
@pytest.mark.usefixtures("short_segments")
def test_a_film_for_a_store_goes_on(store: str, checkpoint: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=40, options=LOSSLESS)
    job = VideoJob(source=str(clip), style=str(checkpoint), device="cpu", backend="torch", output=f"{store}/out/a.mp4")
    done: list[int] = []
    part = run_job(job, progress=lambda summary: done.append(summary.finished), stop=lambda: bool(done))
    assert part.interrupted
    assert not files_of(store)[0].exists(f"{files_of(store)[1]}/out/a.mp4")
    rest = run_job(job)
    assert 0 < rest.skipped == 40 - rest.done
    run_job(replace(job, output=f"{tmp_path}/here/a.mp4"))
    assert pictures(f"{store}/out") == {"a.mp4": (tmp_path / "here" / "a.mp4").read_bytes()}


def test_single_photographs(
    store: str, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photos("a.jpg")
    put(f"{store}/in", source)
    monkeypatch.chdir(tmp_path)
    stylizer = Stylizer(checkpoint, device="cpu", backend="torch")
    expected = stylize_image(source / "a.jpg", tmp_path / "here.jpg", stylizer).read_bytes()
    assert stylize_photograph(f"{store}/in/a.jpg", None, stylizer, overwrite=False) == "a_plain.jpg"
    assert Path("a_plain.jpg").read_bytes() == expected
    for from_there in (f"{store}/in/a.jpg", str(source / "a.jpg")):
        place = f"{store}/out/{uuid.uuid4().hex}.jpg"
        assert stylize_photograph(from_there, place, stylizer, overwrite=False) in (place, place.removeprefix("file://"))
        assert expected in held(f"{store}/out").values()
        with pytest.raises(StylebatchError, match="is there already; `overwrite` replaces it"):
            stylize_photograph(from_there, place, stylizer, overwrite=False)
        stylize_photograph(from_there, place, stylizer, overwrite=True)
    assert len(held(f"{store}/out")) == 2


def test_a_photograph_of_a_web_server(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, stylizer = photos("a.jpg"), Stylizer(checkpoint, device="cpu", backend="torch")
    monkeypatch.chdir(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=root)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert stylize_photograph(f"{url}/a.jpg?size=large", None, stylizer, overwrite=False) == "a_plain.jpg"
        with pytest.raises(StylebatchError, match=r"b\.jpg: no such file"):
            stylize_photograph(f"{url}/b.jpg", None, stylizer, overwrite=False)
        server.shutdown()
    with Image.open("a_plain.jpg") as made, Image.open(root / "a.jpg") as photograph:
        assert made.size == photograph.size


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_names_that_lead_elsewhere_are_not_taken(
    store: str, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    """An object's name is any text; a folder's is not."""
    put(f"{store}/in", photos("a.jpg", "caf\u00e9 #1?.jpg"))
    files, top = files_of(store)
    files.pipe_file(f"{top}/in/../../evil.jpg", files.cat_file(f"{top}/in/a.jpg"))
    summary = stylize_folder(f"{store}/in", tmp_path / "deep" / "out", str(checkpoint), device="cpu", workers=0)
    assert summary.done == 2
    assert sorted(path.name for path in tmp_path.rglob("*.jpg") if "in" not in path.parts) == ["a.jpg", "caf\u00e9 #1?.jpg"]


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("memory://nothing", "out", "memory://nothing: no such folder of photographs"),
        ("memory://in", "memory://in/", "memory://in: output and input are the same folder"),
        ("memory://in", "memory://in/out", "memory://in/out: the output lies inside the input"),
        ("memory://in/more", "memory://in", "the input memory://in/more lies inside the output"),
        ("nowhere://in", "out", "nowhere://in: cannot be reached: Protocol not known"),
        ("s3://", "out", "s3://: names no bucket and no folder"),
        ("github://a/b", "out", "github://a/b: cannot be reached: "),
        ("file://elsewhere/in", "out", "file://elsewhere/in: a file URL begins with file:///"),
    ],
)
def test_urls_that_are_refused(source: str, output: str, message: str, checkpoint: Path) -> None:
    MemoryFileSystem.store.clear()
    files = fsspec.filesystem("memory")
    for name in ("/in/a.jpg", "/in/more/a.jpg"):
        files.pipe_file(name, b"")
    with pytest.raises(StylebatchError, match=message):
        stylize_folder(source, output, str(checkpoint), device="cpu")


@pytest.mark.parametrize("text", ["s3://bucket/a", "simplecache::s3://bucket", "FILE:///a", "memory://"])
def test_a_url_is_told_from_a_path(text: str) -> None:
    assert is_url(text)
    assert not any(map(is_url, ("in", "/a://b", "C:\\in", "C:/in", "a:b", "", "./s3://a")))


def finish(manifest: Manifest, name: str, text: str = "painted") -> None:
    """What a run does for one file."""
    content = manifest.content(name)
    with atomic_write(manifest.output.root / name, lambda temp, path: manifest.put(content, temp, path)) as file:
        file.write(f"{text} {name}".encode())


def test_several_writers_make_one_manifest(tmp_path: Path) -> None:
    """Each adds what it has done, also what another has done already; who dies leaves its lines to the next run.

    In a folder: fsspec's memory:// gives one file object to all that read a file, so that threads disturb each other.
    """
    source = tmp_path / "in"
    source.mkdir()
    names = [f"{number}.jpg" for number in range(60)]
    for name in names:
        (source / name).write_text(f"input {name}")
    place = str(tmp_path / "out")

    def opened(writer: str | None = None) -> Manifest:
        return Manifest(storage_of(place), LocalStorage(source), {"style": "abc"}, writer=writer)

    def write(number: int) -> None:
        with opened(f"writer-{number}") as manifest:
            for name in names[number * 10 : number * 10 + 30]:  # each file but the first and last is done two or three times
                finish(manifest, name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = opened("writer-4")  # and is never closed
    finish(left, "0.jpg")
    assert f"{names[1]}" in str(list(left._log.read_all()))
    left._log.close()
    with opened() as manifest:
        for name in names:
            assert manifest.standing(manifest.content(name), manifest.output.root / name) is Standing.DONE
    lines = [json.loads(line) for line in manifest.output.log(NAME, 0, None).read_all()]
    assert [line["output"] for line in lines] == sorted(names)
    listed = [path.name for path in (tmp_path / "out").iterdir()]
    assert sorted(listed) == sorted([NAME, *names])


def test_of_what_was_done_anew_the_line_of_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "in" / name).write_text("input")
    arguments: Any = tmp_path / "out", tmp_path / "in", {"style": "abc"}
    with Manifest(*arguments) as manifest:
        finish(manifest, "a.jpg")
        finish(manifest, "b.jpg")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "in" / name).write_text("another input")
    with Manifest(*arguments, writer="one") as manifest, pytest.MonkeyPatch.context() as patch:
        finish(manifest, "a.jpg", "PAINTED")
        patch.setattr(LocalStorage, "publish", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "killed")))
        with pytest.raises(StylebatchError, match="killed"):
            finish(manifest, "b.jpg", "PAINTED")
    with Manifest(*arguments) as manifest:
        found = {name: manifest.standing(manifest.content(name), tmp_path / "out" / name) for name in ("a.jpg", "b.jpg")}
    assert found == {"a.jpg": Standing.DONE, "b.jpg": Standing.OUTDATED}
    assert len((tmp_path / "out" / NAME).read_bytes().splitlines()) == 2


def test_while_writers_live_no_other_run_begins(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    arguments: Any = tmp_path / "out", tmp_path / "in", {"style": "abc"}
    with Manifest(*arguments, writer="one"), pytest.raises(BusyError, match="another run is writing there"):
        Manifest(*arguments)
    with Manifest(*arguments):
        pass
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [NAME]
