"""OpenVINO: the CPU's best kernels, its graph built straight from the stages. A file format between would add nothing."""

from __future__ import annotations

from threading import Lock

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as op
from torch import Tensor

from stylebatch.backends import Result
from stylebatch.device import Precision
from stylebatch.stages import EPSILON, PIXEL_SCALE, Stage, levels_to_subtract
from stylebatch.system import cores
from stylebatch.transnet import pad_to_multiple

_ALL = np.array([0, 1, 2, 3])
#: Just under fp16's largest number, which is what saturates.
_FP16_MAX = 65_000
_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "zeros": "constant"}


class OpenVINOBackend:
    """One compiled model for all sizes: against one for each it costs 0 to 3% a picture and saves each size 0.2 s."""

    def __init__(self, stages: list[Stage], precision: Precision) -> None:
        self._stages = stages
        self._precision = precision
        self._hints: dict[str, str | int | bool] = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": cores(),
            # Else it ties its threads to the first cores, in each of several processes to the same ones.
            "ENABLE_CPU_PINNING": False,
            # Kernels made for a size are kept for the next picture of that size, by default 5000 of them: 0.5 MB a size.
            "CPU_RUNTIME_CACHE_CAPACITY": "64",
        }
        self._requests: dict[torch.dtype, ov.InferRequest] = {}
        self._lock = Lock()

    def start(self, pixels: Tensor) -> Result:
        """Done on return. One by one: a CPU gains nothing from batches, and computes those in another order, by which half
        precision is rounded otherwise."""
        results = [self._computed(each[None]) for each in pixels]
        done = torch.cat([stylized for stylized, _ in results]), all(finite for _, finite in results)
        return lambda: done

    def _computed(self, pixels: Tensor) -> tuple[Tensor, bool]:
        _, height, width, _ = pixels.shape
        beyond = self._stages[0].beyond
        padded = pad_to_multiple(pixels, dims=(1, 2), beyond=beyond).contiguous()
        with self._lock:
            request = self._request(pixels.dtype)
            levels = levels_to_subtract(padded, self._stages[0]).permute(0, 3, 1, 2)
            try:
                stylized, finite = request.infer(
                    [padded.numpy(), levels.numpy()], share_inputs=True, share_outputs=True
                ).to_tuple()
            except Exception:
                del self._requests[pixels.dtype]  # after an error, it and its kernels are of no use
                raise
            inner = stylized[:, beyond : beyond + height, beyond : beyond + width]
            return torch.from_numpy(inner.copy()), bool(finite)

    def _request(self, dtype: torch.dtype) -> ov.InferRequest:
        if dtype not in self._requests:
            compiled = ov.Core().compile_model(_model(self._stages, dtype, self._precision), "CPU", self._hints)
            self._requests[dtype] = compiled.create_infer_request()
        return self._requests[dtype]


def _model(stages: list[Stage], dtype: torch.dtype, precision: Precision) -> ov.Model:
    """From N×H×W×3 integers, and N×3×1×1 levels to subtract, to integers of that shape, and whether every value was finite.

    The order is what CPUs are fast at: pixels are padded while they are integers and lie as a convolution reads them, levels
    are subtracted from whole planes, and the last convolution makes whole levels before pixels are laid out, which the
    runtime does in that convolution's own pass.
    """
    top = np.float32(torch.iinfo(dtype).max)
    integer = {torch.uint8: ov.Type.u8, torch.uint16: ov.Type.u16}[dtype]
    pixels = op.parameter(ov.PartialShape([-1, -1, -1, 3]), integer)
    levels = op.parameter(ov.PartialShape([-1, 3, 1, 1]), ov.Type.f32)
    x = before = op.transpose(_padded(stages[0], pixels, (1, 2), integer), np.array([0, 3, 1, 2]))
    x = op.multiply(op.subtract(op.convert(x, "f32"), levels), np.float32(PIXEL_SCALE / top))
    finite = op.constant(True)
    for number, stage in enumerate(stages):
        y = _convolution(stage, _padded(stage, x, (2, 3), ov.Type.f32) if number else x)
        if precision == "fp16":  # CPUs that compute in it saturate, or lose a NaN in the next ReLU: the end may look fine
            finite = op.logical_and(finite, op.less(op.reduce_max(op.abs(y), _ALL), np.float32(_FP16_MAX)))
        if stage.last:
            y = op.round(op.multiply(op.sigmoid(y), top), "half_to_even")
            finite = op.logical_and(finite, op.is_finite(op.reduce_sum(y, _ALL)))
        y = _laid_out(stage, y)
        x, before = y if stage.last else _activation(stage, y, before), x
    return ov.Model([op.convert(op.transpose(x, np.array([0, 2, 3, 1])), integer), finite], [pixels, levels], "transnet")


def _padded(stage: Stage, x: ov.Node, sides: tuple[int, int], dtype: ov.Type) -> ov.Node:
    """`sides`: which dimensions are height and width."""
    pads = np.array([stage.padding if side in sides else 0 for side in range(4)])
    return op.pad(x, pads, pads, _PAD_MODES[stage.padding_mode], op.constant(0, dtype))


def _convolution(stage: Stage, x: ov.Node) -> ov.Node:
    y = op.convolution(x, stage.kernel.contiguous().numpy(), [stage.stride] * 2, [0, 0], [0, 0], [1, 1])
    return y if stage.bias is None else op.add(y, stage.bias.view(1, -1, 1, 1).numpy())


def _laid_out(stage: Stage, y: ov.Node) -> ov.Node:
    if stage.shuffle:
        y = op.depth_to_space(y, "blocks_first", 2)
    if stage.crop:
        crop = np.array([stage.crop, stage.crop])
        y = op.slice(y, crop, -crop, np.array([1, 1]), np.array([2, 3]))
    return y


def _activation(stage: Stage, y: ov.Node, before: ov.Node) -> ov.Node:
    y = op.mvn(y, np.array([2, 3]), True, EPSILON, "inside_sqrt")
    return op.relu(op.add(y, before) if stage.residual else y)
