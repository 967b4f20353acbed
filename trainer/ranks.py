"""Processes that train one network together, as torchrun starts them. Each paints its share of a step's photographs; all
take the same step. The first alone writes files, validates and speaks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from stylebatch.device import pick_device
from stylebatch.errors import StylebatchError, first_line
from trainer.content import Batch

_Value = TypeVar("_Value")

#: Where a process that ends early leaves the reason for the others; nothing, if it was asked to.
_ENDED = "ended"
#: How long the others wait for that reason before they take it for killed.
_REASON_WITHIN = timedelta(seconds=5)


class StopError(Exception):
    """Asked to stop before the first step: there is nothing to save."""


class _LostError(Exception):
    """Another process is not there any more."""


@dataclass(frozen=True)
class Share:
    """What a process has of the photographs of a step.

    Attributes:
        images: N×3×S×S, RGB, uint8; one that is black if it has none.
        first: the place of its first one among all.
        of: how many all are.
        weight: its part of them.
        skipped: as in `Batch`, of all processes.
    """

    images: Tensor
    first: int
    of: int
    weight: float
    skipped: list[str]


class Ranks:
    """This process among those that train together.

    Attributes:
        device: where it computes.
        number: its place; 0 is the first.
        count: how many there are.
        on_machine: how many of them this machine has.
    """

    def __init__(self, device: torch.device, number: int = 0, count: int = 1, on_machine: int = 1) -> None:
        self.device = device
        self.number = number
        self.count = count
        self.on_machine = on_machine

    def shared(self, job: Callable[[], _Value]) -> _Value:
        """What the first process computes, or raises, for all."""
        if self.count == 1:
            return job()
        outcome: list[tuple[_Value | None, Exception | None]] = [(None, None)]
        if self.number == 0:
            try:
                outcome = [(job(), None)]
            except Exception as error:
                outcome = [(None, error)]
        with _reaching_others():
            distributed.broadcast_object_list(outcome, src=0)
        value, failed = outcome[0]
        if failed is not None:
            raise failed
        return value  # type: ignore[return-value]

    def photographs_on_device(self, batch_size: int) -> int:
        """How many photographs of a step are on this process's device at most, if all on a machine share its CPU."""
        return -(-batch_size // self.count) * (self.on_machine if self.device.type == "cpu" else 1)

    def check_shares(self, batch_size: int, photographs: int) -> None:
        """Whether each process gets a photograph. Raises StylebatchError."""
        for name, there in (("`batch_size`", batch_size), ("photographs to learn from:", photographs)):
            if there < self.count:
                raise StylebatchError(f"{name} {there}: each of {self.count} processes needs one in a step")

    def share(self, batch: Batch | None, side: int) -> Share | None:
        """What this process has in a step, with squares of so many pixels; None if one has no batch: all are to stop."""
        own = (len(batch.images), batch.skipped) if batch else None
        told = [own] * self.count
        if self.count > 1:
            with _reaching_others():
                distributed.all_gather_object(told, own)
        counts = [each[0] for each in told if each is not None]
        if batch is None or len(counts) < self.count:
            return None
        of, count = sum(counts), counts[self.number]
        images = batch.images if count else torch.zeros(1, 3, side, side, dtype=torch.uint8)
        skipped = [line for each in told if each is not None for line in each[1]]
        first = min(sum(counts[: self.number]), max(of - 1, 0))
        return Share(images, first, of, count / of if of else 0.0, skipped)

    def mean(self, losses: Tensor, weight: float, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Losses over all photographs of a step, in place of the means over a share with that weight; their gradients at the
        parameters, likewise.

        `DistributedDataParallel` sends gradients while others are computed. These are 2 MB in all, and sent at once: so what
        is computed stays the CUDA graph of a single process, and shares may differ.
        """
        if self.count == 1:
            return losses
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([losses, *(gradient.flatten() for gradient in gradients)]) * weight
        with _reaching_others():
            distributed.all_reduce(flat)
        losses, *means = torch.split(flat, [len(losses), *map(Tensor.numel, gradients)])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))
        return losses


@contextmanager
def together(device: str) -> Iterator[Ranks]:
    """Within the block this process trains with those that torchrun has started with it; alone, if there are none.

    Args:
        device: as `pick_device` takes it. On NVIDIA GPUs, each of several processes has its own.

    Raises:
        StylebatchError: no such device, others that are not found, or what another process has raised.
        StopError: another one has.
    """
    number, count, local, on_machine = (
        int(os.environ.get(name, alone))
        for name, alone in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    if count == 1:
        yield Ranks(pick_device(device))
        return
    ranks = Ranks(_own_device(device, local), number, count, on_machine)
    try:
        store, *_ = next(rendezvous("env://"))
        backend = "cpu:gloo,cuda:nccl" if ranks.device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=number, world_size=count)
    except (RuntimeError, ValueError) as error:
        raise StylebatchError(f"the {count} processes of a training do not find each other: {first_line(error)}") from error
    try:
        yield ranks
        with _reaching_others():
            distributed.barrier()  # one that leaves while others still listen may take the rest with it
    except _LostError:
        raise _reason(store) from None
    except BaseException as error:
        stopped = isinstance(error, (StopError, KeyboardInterrupt))
        with suppress(RuntimeError):  # the store is gone, too
            store.set(_ENDED, "" if stopped else first_line(error))
        raise
    finally:
        distributed.destroy_process_group()


def _own_device(name: str, local: int) -> torch.device:
    device = pick_device(name)
    if device.type == "cpu":
        return device
    if device.type != "cuda" or ":" in name:
        raise StylebatchError(f"device {name}: several processes train on cpu, or on cuda, where each has a GPU of its own")
    device = pick_device(f"cuda:{local}")
    torch.cuda.set_device(device)
    return device


@contextmanager
def _reaching_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's and NCCL's
        raise _LostError from error


def _reason(store: Store) -> Exception:
    """Why another process has ended, as what this one is to raise."""
    try:
        store.wait([_ENDED], _REASON_WITHIN)
        said = store.get(_ENDED).decode()
    except RuntimeError:
        return StylebatchError("another process of the training was killed; `resume` goes on from the last checkpoint")
    return StylebatchError(said) if said else StopError()
