"""PyTorch: CUDA, Apple GPUs, and CPUs without OpenVINO."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from stylebatch.backends import Result
from stylebatch.backends.cuda import Streams
from stylebatch.device import DTYPES, Precision
from stylebatch.stages import EPSILON, PIXEL_SCALE, Stage, levels_to_subtract
from stylebatch.transnet import pad_to_multiple


class PyTorchBackend:
    """Stages run one after the other."""

    def __init__(self, stages: list[Stage], device: torch.device, precision: Precision) -> None:
        self.device = device
        self.stages = on_device(stages, device, precision)
        self._streams = Streams(device) if device.type == "cuda" else None

    def start(self, pixels: Tensor, between: Callable[[], object] = lambda: None) -> Result:
        """Done on return, but on CUDA. `between` is called before each stage; what it raises ends the pass."""
        if self._streams:
            return self._streams.start(pixels, self._run)
        with torch.inference_mode():
            stylized, finite = self._run(pixels.to(self.device), between)
            done = stylized.cpu(), bool(finite)
        return lambda: done

    def _run(self, pixels: Tensor, between: Callable[[], object] = lambda: None) -> tuple[Tensor, Tensor]:
        """The same shape and dtype, and whether every value was finite."""
        _, height, width, _ = pixels.shape
        first = self.stages[0]
        levels = levels_to_subtract(pixels, first)
        x = before = pad_to_multiple(to_input(pixels, levels, first.kernel.dtype), beyond=first.beyond)
        for stage in self.stages:
            between()
            y = convolve(stage, x, top=stage.padding, bottom=stage.padding)
            y = y[:, :, stage.crop : y.shape[2] - stage.crop]
            if not stage.last:
                y = instance_norm(y)
                y = (y.add_(before) if stage.residual else y).relu_()
            x, before = y, x
        inner = x[..., first.beyond : first.beyond + height, first.beyond : first.beyond + width]
        return to_integers(inner, pixels.dtype), x.isfinite().all()


def on_device(stages: list[Stage], device: torch.device, precision: Precision) -> list[Stage]:
    """Channels lie last on CUDA, where fp16 wants them so; on CPUs that does not pay."""
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    return [stage.to(device, DTYPES[precision], layout) for stage in stages]


def to_input(pixels: Tensor, levels: Tensor, dtype: torch.dtype) -> Tensor:
    """N×H×W×3 integers, less N×1×1×3 levels, as N×3×H×W for the first stage, where channels lie last already."""
    scale = PIXEL_SCALE / torch.iinfo(pixels.dtype).max
    exact = dtype if pixels.dtype == torch.uint8 else torch.promote_types(dtype, torch.float32)
    return (pixels.to(exact) - levels.to(exact)).mul_(scale).to(dtype).permute(0, 3, 1, 2)


def to_integers(y: Tensor, dtype: torch.dtype) -> Tensor:
    """The last stage's N×3×H×W as N×H×W×3 integers. Rounded in fp32: bf16 would step over levels above 128."""
    top = torch.iinfo(dtype).max
    return (y.float().sigmoid() * top).round().clamp_(0, top).to(dtype).permute(0, 2, 3, 1).contiguous()


def convolve(stage: Stage, x: Tensor, *, top: int, bottom: int) -> Tensor:
    """Pad, convolve, shuffle, crop the columns: N×I×H×W in, N×C×H'×W' out. A band of a picture has no padding at the `top`
    or `bottom` where the picture goes on; its rows are the caller's to crop."""
    mode = "constant" if stage.padding_mode == "zeros" else stage.padding_mode
    x = F.pad(x, (stage.padding, stage.padding, top, bottom), mode=mode)
    y = convolution(x, stage.kernel, stage.bias, stage.stride)
    if stage.shuffle:
        n, _, height, width = y.shape
        y = y.view(n, 2, 2, stage.channels, height, width).permute(0, 3, 4, 1, 5, 2)
        y = y.reshape(n, stage.channels, 2 * height, 2 * width)
    return y[..., stage.crop : y.shape[-1] - stage.crop]


def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """As `F.conv2d`, but fp32 is fp32: PyTorch's default for convolutions on CUDA is TF32, with ten bits after the point."""
    if x.device.type != "cuda" or x.dtype != torch.float32 or not torch.version.cuda:
        return F.conv2d(x, kernel, bias, stride)
    y: Tensor = torch.cudnn_convolution(
        x, kernel, (0, 0), (stride, stride), (1, 1), 1, benchmark=False, deterministic=False, allow_tf32=False
    )
    return y if bias is None else y.add_(bias[:, None, None])


def instance_norm(x: Tensor) -> Tensor:
    """Without affine, statistics summed in fp32 whatever the dtype. On CUDA by hand: PyTorch's leaves channels_last."""
    if x.device.type != "cuda":
        return F.instance_norm(x, eps=EPSILON)
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    return (x - mean).mul_((variance.float() + EPSILON).rsqrt().to(x.dtype))
