"""The way of batches through a GPU."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch
from torch import Tensor

from stylebatch.backends import Result


class Streams:
    """One GPU's: a batch comes, pinned, while the last one is computed and the one before goes. Threads may share them.

    Attributes:
        compute: the stream on which all batches are computed, one after the other.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.compute, self._copy_in, self._copy_out = (torch.cuda.Stream(device) for _ in range(3))  # type: ignore[no-untyped-call]
        self._lock = Lock()

    def start(self, pixels: Tensor, run: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Result:
        """Copy pixels to the GPU, `run` there, and copy back what it gives: the stylized pixels, and one number, not 0 if
        every value was finite.

        A tensor used on a second stream is recorded there, or its memory could be given away too early. The current stream
        is waited for: by it the network's weights came.
        """
        with self._lock, torch.inference_mode(), torch.cuda.device(self.device):
            self.compute.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._copy_in):
                on_device = pixels.to(self.device, non_blocking=True)
            self.compute.wait_stream(self._copy_in)
            on_device.record_stream(self.compute)
            with torch.cuda.stream(self.compute):
                results = run(on_device)
            self._copy_out.wait_stream(self.compute)
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
