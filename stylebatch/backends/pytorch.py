"""PyTorch: CUDA, Apple GPUs, and CPUs without OpenVINO."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stylebatch.backends import Result
from stylebatch.device import DTYPES, Precision
from stylebatch.stages import EPSILON, PIXEL_SCALE, Stage, levels_to_subtract
from stylebatch.transnet import pad_to_multiple


class PyTorchBackend:
    """Stages run one after the other."""

    def __init__(self, stages: list[Stage], device: torch.device, precision: Precision) -> None:
        self.device = device
        self.stages = on_device(stages, device, precision)
        if device.type == "cuda":
            self._copy_in = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._copy_out = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(self, pixels: Tensor) -> Result:
        """Done on return, but on CUDA."""
        if self.device.type == "cuda":
            return self._start_on_cuda(pixels)
        with torch.inference_mode():
            stylized, finite = self._run(pixels.to(self.device))
            done = stylized.cpu(), bool(finite)
        return lambda: done

    def _start_on_cuda(self, pixels: Tensor) -> Result:
        """Copies have streams of their own: this batch comes, pinned, while the last one is computed and the one before
        goes. A tensor used on a second stream is recorded there, or its memory could be given away too early."""
        with torch.inference_mode(), torch.cuda.device(self.device):
            compute = torch.cuda.current_stream()
            with torch.cuda.stream(self._copy_in):
                on_device = pixels.to(self.device, non_blocking=True)
            compute.wait_stream(self._copy_in)
            on_device.record_stream(compute)
            results = self._run(on_device)
            self._copy_out.wait_stream(compute)
            with torch.cuda.stream(self._copy_out):
                host = [torch.empty(result.shape, dtype=result.dtype, pin_memory=True) for result in results]
                for there, result in zip(host, results, strict=True):
                    there.copy_(result, non_blocking=True)
                    result.record_stream(self._copy_out)
                arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
                arrived.record()

        def wait() -> tuple[Tensor, bool]:
            arrived.synchronize()
            return host[0], bool(host[1])

        return wait

    def _run(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The same shape and dtype, and whether every value was finite."""
        _, height, width, _ = pixels.shape
        levels = levels_to_subtract(pixels, self.stages[0])
        x = before = pad_to_multiple(to_input(pixels, levels, self.stages[0].kernel.dtype))
        for stage in self.stages:
            y = convolve(stage, x, top=stage.padding, bottom=stage.padding)
            y = y[:, :, stage.crop : y.shape[2] - stage.crop]
            if not stage.last:
                y = instance_norm(y)
                y = (y.add_(before) if stage.residual else y).relu_()
            x, before = y, x
        return to_integers(x[..., :height, :width], pixels.dtype), x.isfinite().all()


def on_device(stages: list[Stage], device: torch.device, precision: Precision) -> list[Stage]:
    """Channels lie last on CUDA, where fp16 wants them so; on CPUs that does not pay."""
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    return [stage.to(device, DTYPES[precision], layout) for stage in stages]


def to_input(pixels: Tensor, levels: Tensor, dtype: torch.dtype) -> Tensor:
    """N×H×W×3 integers, less N×1×1×3 levels, as N×3×H×W for the first stage, where channels lie last already."""
    scale = PIXEL_SCALE / torch.iinfo(pixels.dtype).max
    return (pixels.to(dtype) - levels.to(dtype)).mul_(scale).permute(0, 3, 1, 2)


def to_integers(y: Tensor, dtype: torch.dtype) -> Tensor:
    """The last stage's N×3×H×W as N×H×W×3 integers. Rounded in fp32: bf16 would step over levels above 128."""
    top = torch.iinfo(dtype).max
    return (y.float().sigmoid() * top).round().clamp_(0, top).to(dtype).permute(0, 2, 3, 1).contiguous()


def convolve(stage: Stage, x: Tensor, *, top: int, bottom: int) -> Tensor:
    """Pad, convolve, shuffle, crop the columns: N×I×H×W in, N×C×H'×W' out. A band of a picture has no padding at the `top`
    or `bottom` where the picture goes on; its rows are the caller's to crop."""
    mode = "constant" if stage.padding_mode == "zeros" else stage.padding_mode
    x = F.pad(x, (stage.padding, stage.padding, top, bottom), mode=mode)
    y = F.conv2d(x, stage.kernel, stage.bias, stage.stride)
    if stage.shuffle:
        n, _, height, width = y.shape
        y = y.view(n, 2, 2, stage.channels, height, width).permute(0, 3, 4, 1, 5, 2)
        y = y.reshape(n, stage.channels, 2 * height, 2 * width)
    return y[..., stage.crop : y.shape[-1] - stage.crop]


def instance_norm(x: Tensor) -> Tensor:
    """Without affine, statistics summed in fp32 whatever the dtype. On CUDA by hand: PyTorch's leaves channels_last."""
    if x.device.type != "cuda":
        return F.instance_norm(x, eps=EPSILON)
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    return (x - mean).mul_((variance.float() + EPSILON).rsqrt().to(x.dtype))
