"""What pixels of a film mean: every format that decoders give, and alpha, there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.format import VideoFormat, names
from conftest import CODED_LEVELS, LEVELS, copied
from PIL import Image
from support.clips import make_clip, to_rgb

from stylebatch import VideoSource, stylize_video
from stylebatch.video.options import VideoOptions
from stylebatch.video.yuv import ToRGB, is_grey

PATCHES = [(255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 60, 40), (30, 180, 60), (40, 60, 200)]
#: How far formats of less than 8 bits a component may be off, dithered or in few colours.
COARSE = 16
#: Those of so few colours that swscale dithers them; and XYZ, whose white is not quite that of RGB.
DITHERED = ("rgb8", "bgr8", "rgb4_byte", "bgr4_byte", "monow", "monob", "xyz12be", "xyz12le")


def patches() -> Any:
    rgb = np.zeros((48, 32 * len(PATCHES), 3), np.uint8)
    for index, colour in enumerate(PATCHES):
        rgb[:, index * 32 : index * 32 + 32] = colour
    return rgb


def writable() -> list[str]:
    source = av.VideoFrame.from_ndarray(patches(), format="rgb24")
    found = []
    for name in sorted(names - set(DITHERED)):
        try:
            frame = source.reformat(format=name)
            frame.reformat(format="rgb24")
            found.append(name)
        except (av.FFmpegError, ValueError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("deep", [False, True])
def test_every_pixel_format_is_read(deep: bool) -> None:
    source, to_rgb = av.VideoFrame.from_ndarray(patches(), format="rgb24"), ToRGB(deep=deep)
    formats = writable()
    assert {"gray", "gray10le", "gray16be", "ya8", "ya16le", "rgb555be", "gbrpf32le", "nv12", "p010le", "yuv410p"} <= set(
        formats
    )
    for name in formats:
        frame = source.reformat(format=name)
        pixels = to_rgb(frame) / (257 if deep else 1)
        format = VideoFormat(name, 16, 16)
        expected = patches().astype(float)
        if is_grey(format):
            expected = np.repeat((expected @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
        limit = COARSE if min(component.bits for component in format.components[:3]) < 8 else LEVELS + 1
        for index in range(len(PATCHES)):
            area = np.s_[20:28, index * 32 + 12 : index * 32 + 20]
            assert np.abs((pixels[area] - expected[area]).mean(axis=(0, 1))).max() <= limit, (name, PATCHES[index])
        alpha = to_rgb.alpha(frame)
        if alpha is not None:
            assert alpha.min() == alpha.max() == np.iinfo(alpha.dtype).max, name


@pytest.mark.parametrize("name", ["monow", "monob"])
def test_black_and_white(name: str) -> None:
    black_and_white = np.zeros((16, 32, 3), np.uint8)
    black_and_white[:, 10:] = 255
    frame = av.VideoFrame.from_ndarray(black_and_white, format="rgb24").reformat(format=name)
    assert np.array_equal(ToRGB(deep=False)(frame), black_and_white)


@pytest.mark.parametrize(
    ("pix_fmt", "codec"), [("gray", "ffv1"), ("gray10le", "ffv1"), ("gray16le", "ffv1"), ("gray", "rawvideo")]
)
def test_grey_is_full_range(pix_fmt: str, codec: str, tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0, 1, 64)[None, :, None], 48, axis=0).repeat(3, axis=2)
    name, options = ("a.avi", {}) if codec == "rawvideo" else ("a.mkv", {"level": "3"})
    source = make_clip(tmp_path / name, frames=1, codec=codec, pix_fmt=pix_fmt, options=options, picture=ramp, full=True)
    pixels = next(iter(VideoSource(source, deep=True))).pixels / 65535
    assert np.abs(pixels - ramp).max() * 255 <= LEVELS
    copied(source, tmp_path / "b.mkv", codec="ffv1")
    with av.open(str(tmp_path / "b.mkv")) as container:
        frame = next(container.decode(video=0))
    assert frame.color_range == 1
    assert np.abs(to_rgb(frame, frame.colorspace, False) - ramp).max() * 255 <= LEVELS


def test_each_frame_is_read_by_its_own_tags(tmp_path: Path) -> None:
    """The range changes in mid-stream: the picture does not."""
    flat = np.full((48, 64, 3), 0.25)
    limited = make_clip(tmp_path / "a.ts", picture=flat, tags=(1, 1, 1, 1), matrix=1)
    full = make_clip(tmp_path / "b.ts", picture=flat, tags=(1, 2, 1, 1), matrix=1, full=True)
    (tmp_path / "c.ts").write_bytes(limited.read_bytes() + full.read_bytes())
    means = [frame.pixels.mean() for frame in VideoSource(tmp_path / "c.ts")]
    assert len(means) == 24
    assert max(means) - min(means) < LEVELS


# ---- alpha


def transparent(path: Path, codec: str, pix_fmt: str, *, hidden: int = 255) -> Path:
    """Green on the left, see-through in the middle, and what is hidden under alpha 0 on the right."""
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[:, :, 1] = 200
    rgba[:, :, 3] = 255
    rgba[:, 20:44, 3] = 128
    rgba[:, 44:, :3] = hidden
    rgba[:, 44:, 3] = 0
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=pix_fmt)
            frame.pts = index
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


SOURCES = [("a.mov", "prores_ks", "yuva444p10le"), ("a.mov", "qtrle", "argb"), ("a.mov", "png", "rgba"),
           ("a.webm", "libvpx-vp9", "yuva420p"), ("a.mkv", "ffv1", "bgra")]  # fmt: skip


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), SOURCES)
def test_alpha_comes_along(name: str, codec: str, pix_fmt: str, tmp_path: Path) -> None:
    source = transparent(tmp_path / name, codec, pix_fmt)
    output = tmp_path / f"b{source.suffix}"
    assert copied(source, output) == []
    for film in (source, output):
        for frame in VideoSource(film, deep=False):
            alpha = frame.info.extra.alpha
            means = [alpha[:, part].mean() for part in (np.s_[:18], np.s_[22:42], np.s_[46:])]
            assert np.abs(np.array(means) - [255, 128, 0]).max() < CODED_LEVELS
    with av.open(str(output)) as container:
        tagged = container.streams.video[0].metadata.get("alpha_mode")
    assert tagged == ("1" if name != "a.mov" else None)


@pytest.mark.parametrize("hidden", [0, 255])
def test_what_is_hidden_does_not_appear(hidden: int, tmp_path: Path) -> None:
    """Neither to the network nor in a film without alpha, which shows it on white as photographs are."""
    source = transparent(tmp_path / "a.mov", "qtrle", "argb", hidden=hidden)
    pixels = next(iter(VideoSource(source))).pixels.astype(int)
    assert np.abs(pixels[:, 46:] - [0, 200, 0]).mean() < CODED_LEVELS
    warnings = copied(source, tmp_path / "b.mp4", crf=1)
    assert sum("alpha is not kept by h264 in yuv420p: shown on white" in warning for warning in warnings) == 1
    shown = next(iter(VideoSource(tmp_path / "b.mp4"))).pixels.astype(int)
    for part, colour in ((np.s_[:, :16], (0, 200, 0)), (np.s_[:, 24:40], (127, 227, 127)), (np.s_[:, 48:], (255, 255, 255))):
        assert np.abs(shown[part] - colour).mean() < CODED_LEVELS


def test_no_alpha_is_made_up(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    warnings = copied(source, tmp_path / "b.mov", codec="prores", pix_fmt="yuva444p10le")
    assert warnings == ["pixel format yuv444p10le is written, not yuva444p10le: the film has no alpha"]
    assert not VideoSource(tmp_path / "b.mov").clip.alpha
    webm = transparent(tmp_path / "c.webm", "libvpx-vp9", "yuva420p")
    copied(webm, tmp_path / "d.mkv", codec="h264")
    with av.open(str(tmp_path / "d.mkv")) as container:
        assert "alpha_mode" not in container.streams.video[0].metadata
    assert not VideoSource(tmp_path / "d.mkv").clip.alpha


def test_gifs_stay_transparent(tmp_path: Path) -> None:
    source = transparent(tmp_path / "a.mov", "qtrle", "argb")
    copied(source, tmp_path / "b.gif")
    for frame in VideoSource(tmp_path / "b.gif"):
        alpha = frame.info.extra.alpha
        assert (alpha[:, :18].min(), alpha[:, 46:].max()) == (255, 0)


def test_pictures_of_a_film_have_its_alpha(checkpoint: Path, tmp_path: Path) -> None:
    source = transparent(tmp_path / "a.mov", "qtrle", "argb")
    stylize_video(source, tmp_path / "out", checkpoint, device="cpu", options=VideoOptions(every=2, size=32))
    with Image.open(tmp_path / "out" / "a_000002.png") as picture:
        assert picture.size == (64, 48)
        assert np.abs(np.asarray(picture)[24, [4, 32, 60], 3].astype(int) - [255, 128, 0]).max() <= 1
