"""Communication between the processes of a run; in a run of one process nothing is exchanged."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from zsl_lab.errors import TrainingError
from zsl_lab.hardware.processes import LAUNCHER

T = TypeVar("T")

#: seconds for which a process may be busy while the others wait for it
_BUSY = 1800.0
#: time for the processes to read their data and connect
_RENDEZVOUS = timedelta(minutes=30)
#: the store of this process, then its part for each connection
_stores: list[Any] = []


class GradientAveraging(DDPStrategy):
    """Data parallelism in which a method averages its gradients itself, with :func:`average`.

    Lightning's own strategy wraps the module in DistributedDataParallel, which averages in the
    backward pass of the module's forward. Methods here take several backward passes per step,
    through parts of the module and with other parts frozen, so gradients are averaged between the
    backward pass and the optimiser's step (:meth:`ZeroShotMethod.descend`).

    Args:
        timeout: Seconds to wait for the other processes in an exchange.
    """

    def __init__(self, timeout: float) -> None:
        # zsl_lab.hardware.processes ends a run if a process hangs, so that waiting here may be long
        patience = max(timeout, _BUSY) if LAUNCHER in os.environ else timeout
        super().__init__(timeout=timedelta(seconds=patience))

    def setup_distributed(self) -> None:
        """Connect the processes; those of :mod:`zsl_lab.hardware.processes` on loopback only."""
        if LAUNCHER in os.environ and not dist.is_initialized():
            self.set_world_ranks()
            on_cpu = self.root_device.type == "cpu"
            dist.init_process_group(
                self._get_process_group_backend(),
                store=_store(self.global_rank, self.world_size),
                rank=self.global_rank,
                world_size=self.world_size,
                timeout=self._timeout,
                device_id=None if on_cpu else self.root_device,
            )
        super().setup_distributed()

    def _configure_launcher(self) -> None:
        """No launcher: zsl_lab.hardware.processes, srun or torchrun has started the processes."""

    def configure_ddp(self) -> None:
        """Instead of wrapping the module, give every process the weights of the first."""
        assert self.model is not None
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            dist.broadcast(tensor.data, src=0)


def _store(rank: int, size: int) -> Any:
    """A store of the processes of one machine, which listens on the loopback address.

    The store of torch's own rendezvous listens on every network interface. This function returns
    once every process has called it.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if not _stores:
        # the store closes the socket
        listening = socket.create_server((address, port), backlog=size) if rank == 0 else None
        _stores.append(
            dist.TCPStore(  # type: ignore[attr-defined]
                address,
                port,
                size,
                is_master=rank == 0,
                timeout=_RENDEZVOUS,
                wait_for_workers=False,
                master_listen_fd=None if listening is None else listening.detach(),
            )
        )
    # keys of its own for each connection: a process may make several runs
    store = dist.PrefixStore(f"zsl_lab/{len(_stores)}", _stores[0])  # type: ignore[attr-defined]
    _stores.append(store)
    store.set(f"here/{rank}", "")
    store.wait([f"here/{other}" for other in range(size)], _RENDEZVOUS)
    return store


def is_main() -> bool:
    """Whether this process writes files and prints; known before the processes are connected."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def world_size() -> int:
    """Number of connected processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Replace each floating-point tensor by its mean over all processes, in one message.

    Args:
        tensors: Of the same shapes in every process.
    """
    tensors = list(tensors)
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world_size()
    means = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, mean in zip(tensors, means, strict=True):
        tensor.copy_(mean.view_as(tensor))


def gather(value: T) -> list[T]:
    """``value`` of every process, in the order of their ranks."""
    if world_size() == 1:
        return [value]
    values: list[T] = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def check_agreement(weights: Iterable[Tensor]) -> None:
    """Check that all processes hold the same weights, up to rounding on different devices.

    Raises:
        TrainingError: They do not, so their metrics would be meaningless.
    """
    if world_size() == 1:
        return
    norms = [float(tensor.detach().double().norm()) for tensor in weights]
    first, *others = gather(torch.tensor(norms, dtype=torch.float64))
    # every process compares all of them, so that all stop together
    unlike = [
        rank
        for rank, norms in enumerate(others, 1)
        if not torch.allclose(norms, first, rtol=1e-3, atol=1e-9, equal_nan=True)
    ]
    if unlike:
        raise TrainingError(
            f"process {unlike[0]} of the run holds other weights than process 0. Every update must "
            "be made by all processes alike: use ZeroShotMethod.descend for it, and common_draws "
            "for what decides how a step goes."
        )


def derived_seed(*parts: int) -> int:
    """A seed derived from several numbers; other numbers give an independent seed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def disconnect() -> None:
    """Disconnect the processes, if they are connected."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
