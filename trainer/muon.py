"""Muon: momentum, with each kernel's step orthogonalised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Muon for convolution kernels (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks").

    A kernel's gradient, averaged over steps, is taken as a matrix (output channels × the rest) and replaced by the nearest
    matrix whose singular values are about 1: no direction of the kernel learns much faster than another. As the
    publication advises, the layers that see or make pixels, and biases, are left to AdamW (without decay), whose rate is
    `pixel_rate` times this one's.

    Deviations. A step turns a kernel and leaves its length: instance normalisation makes the loss independent of the
    length, and kernels that grow learn ever more slowly (Heo et al. 2021, arXiv 2006.08217); lengths that stay also keep
    the straight line between two trained networks halfway between them. And fp32 instead of bfloat16, which CPUs without
    bf16 instructions emulate: `torch.optim.Muon`, for matrices alone, needs 2.1 s a step of such a core for TransNet, this
    0.15 s.

    Args:
        network: its convolutions from and to three channels count as seeing or making pixels.
        lr: length of a step, as a share of the kernel's length.
    """

    def __init__(self, network: nn.Module, lr: float, *, momentum: float = 0.95, pixel_rate: float = 0.05) -> None:
        kernels = [p for p in network.parameters() if p.ndim == 4 and 3 not in p.shape[:2]]
        hidden = {id(p) for p in kernels}
        others = [p for p in network.parameters() if id(p) not in hidden]
        super().__init__(
            [{"params": kernels, "hidden": True}, {"params": others, "hidden": False}],
            {"lr": lr, "momentum": momentum, "betas": (0.9, 0.999), "pixel_rate": pixel_rate},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            taken = [p for p in group["params"] if p.grad is not None]
            if group["hidden"] and any(p.is_cuda for p in taken):
                for shape in dict.fromkeys(p.shape for p in taken):
                    self._kernel_steps([p for p in taken if p.shape == shape], group)
                continue
            step = self._kernel_step if group["hidden"] else self._adam_step
            for p in taken:
                step(p, p.grad, group)

    def _kernel_step(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        mean = self.state[p].setdefault("mean", torch.zeros_like(p))
        mean.lerp_(gradient, 1 - group["momentum"])
        nesterov = gradient.lerp(mean, group["momentum"]).flatten(1)
        step, length = orthogonalised(nesterov).view_as(p), p.norm()
        p.sub_(step * (group["lr"] * length / step.norm().clamp_min(1e-12)))
        p.mul_(length / p.norm().clamp_min(1e-12))

    @torch.no_grad()
    def _kernel_steps(self, kernels: list[Tensor], group: dict[str, Any]) -> None:
        """`_kernel_step` of all kernels of one shape at once, for GPUs, which a kernel alone does not fill."""
        means = [self.state[p].setdefault("mean", torch.zeros_like(p)) for p in kernels]
        gradients = torch.stack([p.grad.flatten(1) for p in kernels if p.grad is not None])
        mean = torch.stack([each.flatten(1) for each in means]).lerp_(gradients, 1 - group["momentum"])
        steps = orthogonalised(gradients.lerp(mean, group["momentum"]))
        before = torch.stack([p.flatten(1) for p in kernels])
        length = _norms(before)
        after = before - steps * (group["lr"] * length / _norms(steps).clamp_min(1e-12))
        after *= length / _norms(after).clamp_min(1e-12)
        for p, m, new, new_mean in zip(kernels, means, after, mean, strict=True):
            p.copy_(new.view_as(p))
            m.copy_(new_mean.view_as(m))

    def _adam_step(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Kingma & Ba 2015, algorithm 1."""
        state, (beta1, beta2) = self.state[p], group["betas"]
        mean, square = (state.setdefault(key, torch.zeros_like(p)) for key in ("mean", "square"))
        step = state["step"] = state.get("step", 0) + 1
        mean.lerp_(gradient, 1 - beta1)
        square.lerp_(gradient.square(), 1 - beta2)
        root = (square / (1 - beta2**step)).sqrt().add_(1e-8)
        p.addcdiv_(mean, root, value=-group["lr"] * group["pixel_rate"] / (1 - beta1**step))


def orthogonalised(matrix: Tensor, iterations: int = 5) -> Tensor:
    """The matrix with its singular values brought near 1: between 0.7 and 1.2, unless they are tiny.

    Newton-Schulz iteration with Jordan's quintic coefficients, on the shorter side. M×N in, or several, K×M×N; the same out,
    fp32.
    """
    x: Tensor = matrix.float()
    x = x / ((x.norm() if x.ndim == 2 else _norms(x)) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(iterations):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


def _norms(matrices: Tensor) -> Tensor:
    """K×1×1 of K×M×N."""
    norms: Tensor = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    return norms
