"""The processes of one training run, as `torchrun` starts them: who they are, what they add up, and batch norm.

Each takes its part of the same batch, and every sum is taken over the whole of it, so that the number of processes
changes the speed and nothing else. The first one alone reads and writes the folder of the run: machines need not share
it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from app.inference.network.devices import choose_device, fast_bfloat16

# A step, or validation, takes all of them about as long: one that is away for this long is lost. One that dies is
# missed at once, unless its machine dies with it.
STEP_PATIENCE = timedelta(minutes=10)
# While the first process decodes a whole collection, the others wait this long.
DECODING_PATIENCE = timedelta(hours=3)
_RESTARTS = "TORCHELASTIC_RESTART_COUNT"
CPU = torch.device("cpu")
T = TypeVar("T")


class LostProcessError(Exception):
    """Another process of the run does not answer any more."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process (`rank` of `count`, `local_rank` on its machine) and its device; by default the only one. `waiting`
    is the group they wait for each other in, with more patience than in a step."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU
    local_rank: int = 0
    waiting: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def say(self, text: str) -> None:
        """Prints a line once, whatever the number of processes."""
        if self.first:
            print(text, flush=True)

    def bfloat16(self, precision: str) -> bool:
        """Whether to compute in bfloat16 with `training.precision` "bf16", "f32", or "auto": where hardware does it."""
        return precision == "bf16" or (precision == "auto" and fast_bfloat16(self.device))

    def wait(self) -> None:
        """Goes on when all processes are here. Raises `LostProcessError`."""
        if self.count > 1:
            _all_reduce(torch.zeros(1), self.waiting)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place. Raises `LostProcessError`."""
        if self.count > 1:
            _all_reduce(tensor)
        return tensor

    def agree(self, value: str) -> bool:
        """Whether all processes have the same. Raises `LostProcessError`."""
        return not self.sum(torch.tensor(float(self.first_does(lambda: value) != value)))

    def first_does(self, work: Callable[[], T]) -> T:
        """What the first process alone does; all get what it returns, or raise what it raises. Also raises
        `LostProcessError`."""
        if self.count == 1:
            return work()
        done: list[Any] = [None, None]
        if self.first:
            try:
                done = [work(), None]
            except Exception as error:
                done = [None, error]
        with _missing_others():
            dist.broadcast_object_list(done, device=CPU)
        value, raised = done
        if raised is not None:
            raise raised
        return value  # type: ignore[no-any-return]  # it was pickled on the way

    def share(self, model: nn.Module) -> None:
        """Gives all processes the model of the first, in place. Raises `LostProcessError`."""
        if self.count > 1:
            model.load_state_dict(self.first_does(model.state_dict))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Adds up the gradients of all processes, in one go."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(together, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """What is inside is done by the first process, then by one on each other machine, then by the others: on each
        disk one downloads and decodes, all read. Raises `LostProcessError`."""
        turn = 0 if self.first else 1 if self.local_rank == 0 else 2
        for _ in range(turn):
            self.wait()
        yield
        for _ in range(2 - turn):
            self.wait()

    def synchronise_batch_norm(self, model: nn.Module) -> None:
        """Lets every batch norm of the model see the whole batch, in place."""
        if self.count == 1:
            return
        if self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            return
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = GatheredBatchNorm2d


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """The processes that torchrun's environment speaks of, a single one without it; NCCL joins GPUs, gloo CPUs."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Processes(device=choose_device("auto"))
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    device, backend = CPU, "gloo"
    if torch.cuda.is_available():
        device, backend = torch.device("cuda", local_rank), "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    store, rank, count = next(iter(rendezvous("env://", timeout=STEP_PATIENCE)))
    # torchrun keeps its store when it starts processes again, with the addresses of the lost ones in it.
    store = PrefixStore(f"attempt {os.environ.get(_RESTARTS, '0')}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=STEP_PATIENCE)
    try:
        waiting = dist.new_group(backend="gloo", timeout=DECODING_PATIENCE)
        yield Processes(dist.get_rank(), dist.get_world_size(), device, local_rank, waiting)
    finally:
        dist.destroy_process_group()


def started_anew() -> bool:
    """Whether torchrun has started these processes again after one of them was lost (`--max-restarts`)."""
    return os.environ.get(_RESTARTS, "0") != "0"


@contextmanager
def _missing_others() -> Iterator[None]:
    """What gloo and NCCL raise where another process is gone, or silent for too long, becomes `LostProcessError`."""
    try:
        yield
    except RuntimeError as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise LostProcessError(f"another process of this run was lost ({said:.200})") from error


def _all_reduce(tensor: Tensor, group: dist.ProcessGroup | None = None) -> None:
    with _missing_others():
        dist.all_reduce(tensor, group=group)


class _Sum(torch.autograd.Function):
    """The sum over all processes of a tensor, through which gradients flow back to each."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        _all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        _all_reduce(total)
        return total


class GatheredBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, on CPUs, where torch's own `SyncBatchNorm` does not run."""

    def forward(self, x: Tensor) -> Tensor:
        """f32[B,C,H,W] or bf16, normalised per channel by the statistics of every process's batch together."""
        if not self.training or self.momentum is None or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        values = x.float()
        count = _sum(values.new_tensor(x.numel() / x.shape[1]))
        mean = _sum(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _sum(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def _sum(tensor: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    return total
