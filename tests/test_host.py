"""What a program that uses the library keeps: its switches, filters, handlers and threads, and how it starts processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from conftest import picture, requires_openvino
from PIL import Image, ImageFile, PngImagePlugin
from support.clips import make_clip

import stylebatch
from stylebatch import ImageOptions, Stylizer, stylize_folder, stylize_image, stylize_video
from stylebatch.errors import StylebatchError
from stylebatch.frame import Failure
from stylebatch.host import pillow_guards
from stylebatch.images.source import ImageSource
from stylebatch.locking import Log

BATCH = np.stack([np.asarray(picture(30, 22, seed=seed)) for seed in range(2)])


def switches() -> list[object]:
    return [
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES,
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY,
        list(warnings.filters), torch.get_num_threads(), torch.initial_seed(), np.geterr(), os.umask(os.umask(0o22)),
        torch.get_num_interop_threads(), torch.is_grad_enabled(), torch.get_default_dtype(), cv2.getNumThreads(),
        av.logging.get_level(), list(logging.root.handlers), sys.excepthook, sys.stderr, dict(os.environ), sys.path[:],
        *(signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)),
    ]  # fmt: skip


def test_nothing_of_the_program_is_changed(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos("a.jpg", "b.png", "c.tif")
    (source / "broken.jpg").write_bytes((source / "a.jpg").read_bytes()[:-20])
    handler = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        before = switches()
        for workers in (0, 1):
            out = tmp_path / str(workers)
            stylize_folder(source, out, checkpoint, device="cpu", workers=workers)
        stylize_image(
            source / "broken.jpg", tmp_path / "c.jpg", checkpoint, device="cpu", options=ImageOptions(allow_truncated=True)
        )
        make_clip(tmp_path / "clip.mp4", frames=2)
        stylize_video(tmp_path / "clip.mp4", tmp_path / "film.mp4", checkpoint, device="cpu")
        assert switches() == before
    finally:
        signal.signal(signal.SIGCHLD, handler)


@pytest.mark.slow
def test_the_allocator_is_left_alone(checkpoint: Path) -> None:
    """`mallopt` holds for all of a program, and cannot be asked: what is called of the C library is listened to."""
    script = (
        "import ctypes, sys; called = []; load = ctypes.CDLL\n"
        "class Listening:\n"
        "    def __getattr__(self, name): called.append(name); return getattr(load(None), name)\n"
        "ctypes.CDLL = lambda *arguments, **options: load(*arguments, **options) if arguments[0] else Listening()\n"
        "from stylebatch import Stylizer; import torch\n"
        "Stylizer(sys.argv[1], device='cpu', backend='torch')(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))\n"
        "assert 'mallopt' not in called\n"
        "from stylebatch.system import keep_freed_memory; keep_freed_memory(); assert 'mallopt' in called\n"
    )
    subprocess.run([sys.executable, "-c", script, str(checkpoint)], check=True)


@pytest.mark.slow
@requires_openvino
def test_no_process_is_started_to_tell_of_openvino(checkpoint: Path) -> None:
    script = (
        "import multiprocessing.process, sys, time; started = []\n"
        "multiprocessing.process.BaseProcess.start = started.append\n"
        "from stylebatch import Stylizer\n"
        "Stylizer(sys.argv[1], device='cpu', backend='openvino'); time.sleep(0.5)\n"
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules and not started\n"
    )
    subprocess.run([sys.executable, "-c", script, str(checkpoint)], check=True)


def test_threads_do_not_share_what_they_allow(tmp_path: Path) -> None:
    """A file that breaks off fails for a strict reader, and for the program itself, while others take what is there."""
    picture(600, 400).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    loose = ImageSource(tmp_path, ImageOptions(allow_truncated=True))
    strict = ImageSource(tmp_path)
    stop = threading.Event()
    taken: list[object] = []

    def read() -> None:
        while not stop.is_set():
            taken.append(loose["cut.png"])

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            assert isinstance(strict["cut.png"], Failure)
            with Image.open(tmp_path / "cut.png") as image, pytest.raises(OSError, match="truncated"):
                image.load()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert taken
    assert not any(isinstance(frame, Failure) for frame in taken)


def test_what_the_program_allows_itself_is_not_allowed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(60, 40).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-400])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert isinstance(ImageSource(tmp_path)["a.png"], Failure)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_public_names_are_listed() -> None:
    for package in (stylebatch, stylebatch.video):
        assert dir(package) == sorted(package._HOMES)
        assert all(getattr(package, name) for name in dir(package))


def test_a_stylizer_says_what_it_is(checkpoint: Path) -> None:
    assert repr(Stylizer("hosi", device="cpu", precision="fp32", backend="torch")) == (
        "Stylizer('hosi', device='cpu', precision='fp32', backend='torch')"
    )
    mix = Stylizer("hosi:0.6,wave:0.4", strength=0.5, device="cpu", precision="fp32", backend="torch")
    assert repr(mix) == ("Stylizer('hosi:0.6,wave:0.4', device='cpu', precision='fp32', backend='torch', strength=0.5)")
    assert str(checkpoint) in repr(Stylizer(checkpoint, device="cpu"))


@pytest.mark.parametrize("style", ["hosi:1,wave:2", "plain.pth"])
def test_a_stylizer_can_be_pickled(style: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And comes back in another folder."""
    (tmp_path / "plain.pth").write_bytes(checkpoint.read_bytes())
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    stylizer = Stylizer(style, device="cpu", precision="fp32")
    pickled = pickle.dumps(stylizer)
    assert len(pickled) < 1000
    monkeypatch.chdir("other")
    again = pickle.loads(pickled)
    assert (again.digest, again.name) == (stylizer.digest, stylizer.name)
    assert (again(BATCH) == stylizer(BATCH)).all()


def _in_a_fork(connection: object, stylizer: Stylizer, style: str) -> None:
    said: list[object] = [
        stylizer(BATCH),
        stylizer(BATCH[0] / 255),
        stylizer.start(torch.from_numpy(BATCH)).result().numpy(),
    ]
    fresh = Stylizer(style, device="cpu", precision="fp32")
    said += [fresh(BATCH), (fresh.digest, fresh.precision, fresh.batch_pixels, fresh.in_flight)]
    for wrong in (lambda: stylizer(BATCH[0, 0]), lambda: Stylizer(style, device="cpu", precision="fp9")):
        try:
            wrong()
        except (ValueError, StylebatchError) as error:
            said.append(str(error))
    connection.send(said)  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_a_fork_paints_too(backend: str, checkpoint: Path) -> None:
    stylizer = Stylizer(checkpoint, device="cpu", precision="fp32", backend=backend)
    painted, one = stylizer(BATCH), stylizer(BATCH[0] / 255)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_in_a_fork, args=(there, stylizer, str(checkpoint)))
    process.start()
    assert here.poll(60), "it hangs"
    batch, floats, started, fresh, facts, *errors = here.recv()
    process.join(10)
    assert process.exitcode == 0
    assert (batch == painted).all()
    assert (floats == one).all()
    assert (started == painted).all()
    assert np.abs(fresh.astype(int) - painted).max() <= 1  # on the backend that is picked
    assert facts == (stylizer.digest, "fp32", stylizer.batch_pixels, 1)
    assert "pictures are H×W×3" in errors[0]
    assert "precision 'fp9'" in errors[1]


def _read_in_a_fork(connection: object, folder: Path) -> None:
    connection.send(ImageSource(folder)["a.png"].pixels.shape)  # type: ignore[attr-defined, union-attr]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_reads_while_a_thread_did(photos: Callable[..., Path]) -> None:
    folder = photos("a.png")
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    held, done = threading.Event(), threading.Event()

    def reading() -> None:
        with pillow_guards(None):
            held.set()
            done.wait()

    thread = threading.Thread(target=reading)
    thread.start()
    held.wait()
    process = context.Process(target=_read_in_a_fork, args=(there, folder))
    process.start()
    done.set()
    thread.join()
    assert here.poll(60), "it hangs"
    assert here.recv() == (32, 48, 3)
    process.join(10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_keeps_no_folder_locked(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    log.close()
    Log(tmp_path / "log", wait=10).close()
    process.kill()
    process.join(10)


def _folder_in_a_fork(connection: object, arguments: tuple[Path, Path, Path]) -> None:
    summary = stylize_folder(*arguments, device="cpu", options=ImageOptions(preserve_color=True))
    connection.send((summary.done, summary.failures))  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_paints_folders(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos("a.png", "b.jpg", size=(600, 400))
    stylize_folder(source, tmp_path / "here", checkpoint, device="cpu", options=ImageOptions(preserve_color=True))
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_folder_in_a_fork, args=(there, (source, tmp_path / "there", checkpoint)))
    process.start()
    assert here.poll(60), "it hangs"
    assert here.recv() == (2, [])
    process.join(10)
    assert (tmp_path / "there" / "a.png").read_bytes() == (tmp_path / "here" / "a.png").read_bytes()
