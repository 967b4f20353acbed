"""Real files for the tests, made on the spot, and the one place for tolerances."""

from __future__ import annotations

import os
import subprocess
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stylebatch import Summary, stylize_folder
from stylebatch.checkpoint import Checkpoint, save_pth
from stylebatch.transnet import TransNet

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # its kernels run in Python, on the CPU; it looks when it is first imported

#: (relative, absolute) by dtype, for values of order 1.
TOLERANCES = {torch.float64: (1e-10, 1e-12), torch.float32: (2e-4, 2e-5), torch.bfloat16: (5e-2, 2e-2)}
#: What one rounding to bfloat16, and its square, may change of a value.
BF16_ROUNDING = 2**-7
#: Half precision against fp32, in dB; and how far a pixel may depend on its neighbours in a batch.
MIN_PSNR, ONE_LEVEL = 40.0, 1
#: How far fp32 may be from float64 in pixels of 16 bits: rounding through sixteen layers.
STEPS_OF_65535 = 4
#: Of 65,535: what a colour profile's rounding of its numbers to 1/65,536 makes of a pixel; a way there and back.
ROUNDED, THERE_AND_BACK = 40, 2
#: Of 255, between sixteen bits and Little CMS in eight: one rounds by half a level; the mean of what both lose.
LEVEL, MEAN_LEVEL = 0.8, 0.35
#: How far a film's colours may be off in levels of 255: by rounding with 8 bits and with more, and on average by a codec.
LEVELS, DEEP_LEVELS, CODED_LEVELS = 2.0, 0.6, 4.0
#: How near the base network comes to the photograph, in dB.
MIN_BASE_PSNR = 25.0
#: How far light and dark, in large, may be from the photograph's: trained without a loss for it, styles had 0.01 to 0.03.
MAX_SHADING = 0.008
#: At strengths ¼ and ½, how far blocks of 32 px may be from the photograph's, in levels of 255.
MAX_BLOCK_LEVELS = {0.25: 25, 0.5: 80}

#: By how much the outermost rows and columns may be lighter or darker than where the photograph goes on, likewise.
MAX_BORDER_LEVELS = 15


def assert_close(actual: Tensor, expected: Tensor, dtype: torch.dtype = torch.float32) -> None:
    relative, absolute = TOLERANCES[dtype]
    torch.testing.assert_close(actual.double(), expected.double(), rtol=relative, atol=absolute)


def run(source: Path, output: Path, checkpoint: Path | str, **options: Any) -> Summary:
    """A folder in this process, by the backend that is ready soonest, unless `options` ask for others."""
    options = {"device": "cpu", "precision": "fp32", "backend": "torch", "workers": 0, **options}
    return stylize_folder(source, output, checkpoint, **options)


def copied(source: Path, output: Path, settings: Any = None, **options: Any) -> list[str]:
    """A film through source and sink alone: the network that changes nothing. Gives the warnings."""
    from stylebatch import VideoOptions, VideoSink, VideoSource  # not every machine with a GPU has PyAV

    film = VideoSource(source, VideoOptions(**options))
    with VideoSink(output, film, settings) as sink:
        done = sink.done
        for frame in film.frames(lambda index: index >= done):
            sink.add(frame.info, frame.pixels, frame.pixels)
    return film.warnings + sink.warnings


_skipped_without_cuda = pytest.mark.skipif(
    not torch.cuda.is_available() and not os.environ.get("STYLEBATCH_REQUIRE_CUDA"),
    reason="no CUDA GPU here (STYLEBATCH_REQUIRE_CUDA=1 makes this a failure)",
)


def requires_cuda(test: Any) -> Any:
    return pytest.mark.cuda(_skipped_without_cuda(test))


requires_triton = pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")
requires_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="OpenVINO is not installed")


def picture(width: int = 48, height: int = 32, seed: int | str = 0) -> Image.Image:
    """A smooth, colourful RGB picture with an edge, different for each seed."""
    rng = np.random.default_rng(zlib.crc32(os.fsencode(str(seed))))
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * rng.uniform(0.05, 0.4) + rng.uniform(0, 6)) + np.cos(y * rng.uniform(0.05, 0.4)) for _ in range(3)]
    pixels = np.stack(waves, axis=-1) * 50 + 127
    pixels[height // 2 :, width // 2 :] = rng.uniform(0, 255, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of photographs from relative names; the extension chooses the format."""

    def make(*names: str, size: tuple[int, int] = (48, 32), folder: str = "in") -> Path:
        root = tmp_path / folder
        for name in names or ("a.jpg", "b.png", "nested/deep/c.jpg"):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(*size, seed=name).save(path)
        return root

    return make


@pytest.fixture(scope="module")
def s3_server() -> Iterator[dict[str, str]]:
    """A server of S3's interface, as the environment that leads programs there."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    server.stop()


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 200 kB, or of the size that a test asks for."""
    folder = tmp_path / "small"
    folder.mkdir()
    size = getattr(request, "param", "200k")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylebatch.video.encoding._SEGMENT_FRAMES", (5, 5))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small style: a narrow TransNet as initialised, which costs no training and depends on every pixel."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("style") / "plain_trans_net_1.pth"
    save_pth(Checkpoint(TransNet("reflect", 8).state_dict(), {"style": "plain", "padding_mode": "reflect"}), path)
    return path
