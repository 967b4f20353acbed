#!/usr/bin/env python3
"""One digest for each file that the commands write, of inputs of every kind; before and after a change that changes none:

    scripts/golden.py > before.txt
    scripts/golden.py | diff before.txt -

They hold on one machine with the same packages.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conftest import picture  # noqa: E402
from support.clips import LOSSLESS, make_clip  # noqa: E402
from support.profiles import P3, SRGB_CURVE, rgb_profile  # noqa: E402
from support.tiffs import save_tiff  # noqa: E402

#: Two runs differ in seconds, rates and megabytes, so that of what is said the words are compared.
NUMBERS = re.compile(r"[\d.]+(e-\d+)?")
EXACT = ["--device", "cpu", "--precision", "fp32", "--backend", "torch"]


def photographs(folder: Path) -> None:
    """One of each format and of what a picture can hold besides eight bits of red, green and blue."""
    (folder / "more").mkdir(parents=True)
    profile = rgb_profile(P3, SRGB_CURVE)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    picture(90, 60, 1).save(folder / "turned.jpg", exif=exif, icc_profile=profile)
    picture(64, 48, 2).convert("L").save(folder / "grey.jpg")
    picture(64, 48, 3).convert("CMYK").save(folder / "ink.jpg")
    clear = picture(70, 50, 4)
    clear.putalpha(Image.linear_gradient("L").resize((70, 50)))
    for name in ("clear.png", "clear_web.webp", "clear_print.tif", "clear_small.avif"):
        clear.save(folder / "more" / name)
    picture(64, 48, 5).quantize(16).save(folder / "palette.png", transparency=3)
    deep = (np.asarray(picture(64, 48, 6)).astype(np.uint16) * 257) ^ 0x55
    Image.fromarray(deep[..., 0]).save(folder / "deep_grey.png")
    save_tiff(folder / "deep.tif", deep)
    picture(64, 48, 7).save(folder / "plain.bmp")
    picture(64, 48, 8).save(folder / "profile.tif", icc_profile=profile)
    moving = [picture(40, 30, seed) for seed in (9, 10, 11)]
    for name in ("moving.gif", "moving_web.webp", "moving_clear.png"):
        moving[0].save(folder / name, save_all=True, append_images=moving[1:], duration=[40, 80, 120], loop=0)
    (folder / "broken.jpg").write_bytes((folder / "grey.jpg").read_bytes()[:400])
    (folder / "notes.txt").write_text("no picture")


def films(folder: Path) -> None:
    """Without loss: x264 has other bytes for the same frames in some runs."""
    folder.mkdir()
    make_clip(folder / "sound.mp4", options=LOSSLESS, audio=2, subtitles=1, tags=(1, 1, 1, 1), matrix=1)
    make_clip(folder / "rates.mkv", times=[0, 512, 1024, 4096, 4608, 9216], options=LOSSLESS, audio=1)
    make_clip(folder / "deep.mov", pix_fmt="yuv422p10le", options=LOSSLESS, frames=5, rotation=90, timecode="01:00:00:00")


def commands() -> list[tuple[str, ...]]:
    exact = tuple(EXACT)
    return [
        ("stylebatch", "folder", "photos", "a", "--grid", "--json", *exact),
        ("stylebatch", "folder", "photos", "b", "--preserve-color", "--size", "32", "--format", "png", *exact),
        ("stylebatch", "folder", "photos", "c", "--style", "hosi:0.6,wave:0.4", "--keep-work-size", "--size", "24", *exact),
        ("stylebatch", "folder", "photos", "d", "--strength", "0.5", "--strip-metadata", "--allow-truncated", *exact),
        ("stylebatch", "folder", "photos", "e", "--device", "cpu"),
        ("stylebatch", "image", "photos/turned.jpg", "photos/moving.gif", "f/", "--style", "wave", "--grid", *exact),
        ("stylebatch", "grid", "photos/turned.jpg", "photos/deep.tif", "--style", "hosi", "-o", "g.png", *exact),
        ("stylebatch", "video", "films/sound.mp4", "h.mp4", *exact),
        ("stylebatch", "video", "films/rates.mkv", "i.mkv", "--steady", "0", "--side-by-side", "--codec", "ffv1", *exact),
        ("stylebatch", "video", "films/deep.mov", "j.mov", "--json", *exact),
        ("stylebatch", "video", "films/sound.mp4", "k", "--every", "4", "--strength", "0.7", *exact),
        ("trainer", "fit", "--style", str(ROOT / "trainer/paintings/great_wave.jpg"), "--steps", "3", "--batch-size", "1",
         "--crop-size", "64", "--style-size", "64", "--out", "l", "--workers", "0"),
    ]  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golden-") as temp:
        folder = Path(temp)
        photographs(folder / "photos")
        films(folder / "films")
        for command in commands():
            (folder / "f").mkdir(exist_ok=True)
            run = subprocess.run(
                [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            print(
                run.returncode,
                hashlib.sha256(NUMBERS.sub("", run.stdout).encode()).hexdigest()[:16],
                *(word.removeprefix(str(ROOT)) for word in command[:4]),
            )
            if "-v" in sys.argv:
                print(run.stdout, run.stderr, file=sys.stderr)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith(".") and path.parent.name not in ("photos", "films"):
                print(hashlib.sha256(content(path)).hexdigest()[:16], path.relative_to(folder))


def content(path: Path) -> bytes:
    """Without what is another in each run: a training's seconds, the random numbers by which Matroska knows a file."""
    if path.suffix == ".mkv":
        with av.open(str(path)) as film:
            packets = [(packet.stream_index, packet.pts, packet.duration, bytes(packet)) for packet in film.demux()]
        return repr(packets).encode()
    if path.suffix == ".safetensors":
        held = path.read_bytes()
        return held[8 + int.from_bytes(held[:8], "little") :]  # the weights alone
    return b"" if path.suffix in (".csv", ".pth") else path.read_bytes()


if __name__ == "__main__":
    main()
