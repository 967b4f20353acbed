"""Batch in, batch out, in the depth that it has: the one entry to a style's network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from PIL import Image
from torch import Tensor, nn

from stylebatch.backends import Backend, BackendName, RefusedError, Result, load_backend, pick_backend
from stylebatch.device import DTYPES, Precision, pick_devices, pick_precision, shortage
from stylebatch.errors import StylebatchError
from stylebatch.fork import HelperProcess, can_compute
from stylebatch.frame import BATCH_PIXELS, Pixels
from stylebatch.kinds import Pictures, as_batch
from stylebatch.pixels import with_tone_of
from stylebatch.stages import as_stages, beyond_borders
from stylebatch.strokes import check_strokes, underpainted, widening
from stylebatch.styles import from_anywhere, load_style, note

#: Batches of more pixels are computed in bands. A constant, not what memory happens to be free: a picture's result has to be
#: the same tomorrow, to the last bit.
WHOLE_PIXELS = 6_000_000
#: What a backend takes on a GPU at its peak for a pixel, in values for each channel of the network's width. PyTorch's was
#: measured on an H200: 302 to 368 bytes in fp16 and 674 in fp32, at a width of 32. Triton's layers are 2.1 by count, and
#: cuDNN has its workspace besides.
VALUES_PER_CHANNEL: dict[BackendName, float] = {"torch": 6.6, "triton": 4.0}
#: Larger batches keep a GPU no busier: pictures, and pixels.
MAX_BATCH, MAX_BATCH_PIXELS = 32, 1 << 24

#: Attributes that a stylizer in a fork gets from the process that computes for it.
_FACTS = ("name", "digest", "width", "tone", "devices", "device", "precision", "backend")


@dataclass(frozen=True)
class Pending:
    """A batch on its way through the device. `result` waits for it."""

    result: Callable[[], Tensor]


class Stylizer:
    """One style on one device, or on several GPUs in turn. Threads may share it, and it can be pickled. In a fork of a
    process that has used one, a further process computes.

    Args:
        style: a name, the path of a checkpoint, or a mix, "hosi:0.6,wave:0.4".
        strength: 0 (the photograph) to 1 (the style as trained) to 1.5.
        strokes: how many times as wide strokes are as those that the style has learned, 1 to 16. By default 1, and on
            pictures with a long side of over 3,000 px in proportion to that.
        device: "auto", "cpu", "cuda", "cuda:N", "mps", a list such as "cuda:0,cuda:1", or "all" GPUs.
        precision: "auto" (half where the device is faster in it), "fp32", "bf16" or "fp16". Instance statistics are
            summed in fp32 in each, and a batch whose result is not finite is run again in fp32.
        backend: "auto" (OpenVINO on CPUs where it is installed, Triton on CUDA where it computes), "torch", "openvino" or
            "triton".

    Attributes:
        tone: how far each painting is brought back to its photograph's tone (`pixels.with_tone_of`), 0 to 1; 0 from a
            strength of 1 on. A call does that, `start` leaves it to be done.

    Raises:
        StylebatchError: unknown style, unreadable checkpoint, missing device or backend, strokes of no possible width.
    """

    def __init__(
        self,
        style: str | Path = "hosi",
        *,
        strength: float = 1.0,
        strokes: float | None = None,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
    ) -> None:
        self._style = str(style)
        #: Its own, from any folder: `Stylizer(**arguments)` is the same.
        self.arguments: dict[str, Any] = {
            "style": from_anywhere(self._style), "strength": strength, "strokes": strokes, "device": device,
            "precision": precision, "backend": backend,
        }  # fmt: skip
        check_strokes(strokes)
        self._strokes = strokes
        self._helper = HelperProcess(_Served(self.arguments))
        if not can_compute():
            vars(self).update(self._helper(("facts", _FACTS)))
            return
        checkpoint = load_style(self._style, strength)
        self.name = str(checkpoint.metadata["style"])
        self.digest = checkpoint.digest
        self.width = checkpoint.width
        self.tone = checkpoint.tone
        self.devices = pick_devices(device)
        self.device = self.devices[0]
        self.precision = pick_precision(precision, self.device)
        self.backend = pick_backend(backend, self.device)
        network = checkpoint.network()
        if _overflows(network):
            raise StylebatchError(f"style {style}: its weights are too large to compute with: they make no pictures")
        self._stages = beyond_borders(as_stages(network))
        self._backends: dict[tuple[Precision, torch.device, bool], Backend] = {}
        self._turn = 0
        try:
            self._load()
        except RefusedError as refused:
            if backend != "auto":
                raise
            note(f"{refused}; PyTorch computes instead, several times as slowly")
            self.backend = "torch"
            self._load()

    def __repr__(self) -> str:
        strength = self.arguments["strength"]
        options: dict[str, object] = {
            "device": ",".join(map(str, self.devices)),
            "precision": self.precision,
            "backend": self.backend,
        }
        options |= {} if strength == 1 else {"strength": strength}
        options |= {} if self._strokes is None else {"strokes": self._strokes}
        return f"Stylizer({self._style!r}, {', '.join(f'{name}={value!r}' for name, value in options.items())})"

    def __reduce__(self) -> tuple[Callable[..., Stylizer], tuple[Any, ...]]:
        """It loads itself anew, and picks device, precision and backend anew where they are "auto"."""
        return _loaded, (self.arguments,)

    @overload
    def __call__(self, pictures: Tensor) -> Tensor: ...
    @overload
    def __call__(self, pictures: Pixels) -> Pixels: ...
    @overload
    def __call__(self, pictures: Image.Image) -> Image.Image: ...
    def __call__(self, pictures: Pictures) -> Pictures:
        """Stylize a picture, or a batch of one size.

        Args:
            pictures: RGB, H×W×3 or N×H×W×3, as a tensor or a NumPy array, any size from 1×1: uint8, uint16, or floats from
                0 to 1. Or an image of Pillow's of 8 bits, whose alpha stays. uint16 is always computed in fp32, for half
                precision has fewer steps; floats in `precision`.

        Returns:
            The same kind, shape and dtype, contiguous, on the same device.

        Raises:
            ValueError: pictures of another shape or dtype, or floats that are not from 0 to 1.
            StylebatchError: the style's weights make no numbers of these pictures.
        """
        if not can_compute():
            answer: Pictures = self._helper(("__call__", pictures))
            return answer
        batch, floating, back = as_batch(pictures)
        painted = self._start(batch, self.precision if floating else self._precision_for(batch)).result()
        if self.tone:
            for photograph, painting in zip(batch.numpy(), painted.numpy(), strict=True):
                painting[:] = with_tone_of(painting, photograph, self.tone)
        stylized: Pictures = back(painted)
        return stylized

    def start(self, pixels: Tensor) -> Pending:
        """Like a call, of N×H×W×3 uint8 or uint16 on the CPU, but on CUDA it returns while the device still computes, so
        that the caller can feed it, or the next one, the next batch; pinned `pixels` are copied asynchronously. On a CPU the
        work is done on return. The photographs' `tone` is not brought back: `effects.Tone` does it, in other threads.

        Raises:
            MemoryError: the device's memory, or the machine's, is too small for so many pictures at once, or for this one.
        """
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype not in (torch.uint8, torch.uint16):
            raise ValueError(f"a batch is N×H×W×3 uint8 or uint16, not {tuple(pixels.shape)} {pixels.dtype}")
        if not can_compute():
            stylized = torch.from_numpy(self._helper(("start", pixels.numpy())))
            return Pending(lambda: stylized)
        return self._start(pixels, self._precision_for(pixels))

    def _precision_for(self, pixels: Tensor) -> Precision:
        return "fp32" if pixels.dtype == torch.uint16 else self.precision

    def _start(self, pixels: Tensor, precision: Precision) -> Pending:
        if not len(pixels):
            return Pending(pixels.clone)
        times = widening(self._strokes, *pixels.shape[1:3])
        seen = underpainted(pixels, times, lambda small: self._run(small, precision)())
        return Pending(self._run(seen, precision))

    def _run(self, pixels: Tensor, precision: Precision) -> Callable[[], Tensor]:
        """One pass over a batch. What is returned waits for it."""
        in_bands = self.device.type == "cpu" and pixels.shape[0] * pixels.shape[1] * pixels.shape[2] > WHOLE_PIXELS
        device = self.devices[self._turn % len(self.devices)]
        self._turn += 1
        result = self._tried(precision, device, in_bands, pixels)
        if isinstance(result, str) and len(pixels) == 1 and not in_bands:
            in_bands = True
            result = self._tried(precision, device, in_bands, pixels)
        if isinstance(result, str):
            raise MemoryError(result)
        wait = result

        def checked() -> Tensor:
            stylized, finite = wait()
            if not finite and precision != "fp32":
                stylized, finite = self._backend("fp32", device, in_bands).start(pixels)()
            if not finite:
                raise StylebatchError(f"the weights of {self.name} make no numbers of it")
            return stylized

        return checked

    def _tried(self, precision: Precision, device: torch.device, in_bands: bool, pixels: Tensor) -> Result | str:
        """What a backend gives, or how memory is short. Not as an error: that keeps what filled the memory."""
        try:
            return self._backend(precision, device, in_bands).start(pixels)
        except (RuntimeError, MemoryError) as error:  # torch has no narrower type for a CPU out of memory
            if short := shortage(error):
                return short
            raise

    @property
    def settings(self) -> dict[str, Any]:
        """What of it changes the pixels of a result, as JSON values."""
        return {"style": self.digest, "precision": self.precision, "backend": self.backend, "strokes": self._strokes}

    @property
    def batch_size(self) -> int:
        """How many pictures are worth putting into a batch: a CPU gains nothing from more than one."""
        return 1 if self.device.type == "cpu" else MAX_BATCH

    @property
    def batch_pixels(self) -> int:
        """How many pixels a batch may have: on GPUs, what their free memory holds, with as much to spare."""
        if self.device.type != "cuda" or not can_compute():
            return BATCH_PIXELS
        free = min(torch.cuda.mem_get_info(device)[0] for device in self.devices)
        bytes_per_pixel = VALUES_PER_CHANNEL[self.backend] * self.width * DTYPES[self.precision].itemsize
        return max(BATCH_PIXELS, min(MAX_BATCH_PIXELS, int(free / (2 * bytes_per_pixel))))

    @property
    def in_flight(self) -> int:
        """How many batches are worth having on their way: on each GPU one that is computed and one that waits."""
        return 2 * len(self.devices) if self.device.type == "cuda" and can_compute() else 1

    def _load(self) -> None:
        for each in self.devices:
            self._backend(self.precision, each)

    def _backend(self, precision: Precision, device: torch.device, in_bands: bool = False) -> Backend:
        key = precision, device, in_bands
        if key not in self._backends:
            self._backends[key] = load_backend(self.backend, self._stages, device, precision, in_bands=in_bands)
        return self._backends[key]


def _loaded(arguments: dict[str, Any]) -> Stylizer:
    return Stylizer(**arguments)


class _Served:
    """A stylizer in a process of its own: it is asked for attributes by their names, or to call or start with pictures."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments
        self._stylizer: Stylizer | None = None

    def __getitem__(self, question: tuple[str, Any]) -> Any:
        what, argument = question
        self._stylizer = self._stylizer or Stylizer(**self._arguments)
        if what == "facts":
            return {name: getattr(self._stylizer, name) for name in argument}
        if what == "start":
            return self._stylizer.start(torch.from_numpy(argument)).result().numpy()
        return self._stylizer(argument)


@torch.inference_mode()
def _overflows(network: nn.Module) -> bool:
    """Whether some layer's statistics are no numbers on a small picture. Normalisation would make an even grey of them,
    which looks finite."""
    energies: list[Tensor] = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda _layer, _input, y: energies.append(y.square().mean())) for layer in layers]
    network(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    for hook in hooks:
        hook.remove()
    return not bool(torch.stack(energies).isfinite().all())
