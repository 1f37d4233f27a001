"""The training loop that the neural recipes share: shuffled steps, checkpoints by time, resume at the exact step."""

import logging
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import FrameType
from typing import Protocol, Self

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from trainer import checkpoint
from trainer.data import Labelled
from trainer.errors import TrainingInputError
from trainer.group import Group
from trainer.pod import Pod
from trainer.steps import StepLog

log = logging.getLogger("trainer")

SIGTERM_EXIT_CODE = 143


class Pace(Protocol):
    """What the parameters of every neural recipe say of it."""

    batch_size: int
    epochs: int
    learning_rate: float
    weight_decay: float
    seed: int


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    samples: int
    batch_size: int
    """Samples a step over all processes together, so that the number of steps does not depend on how many there are."""
    epochs: int
    learning_rate: float
    weight_decay: float
    seed: int
    data: str
    """Digest of the samples."""

    @classmethod
    def of(cls, data: Labelled, given: Pace) -> Self:
        """That of these samples, as a recipe's parameters say."""
        pace = given.batch_size, given.epochs, given.learning_rate, given.weight_decay, given.seed
        return cls(len(data.y), *pace, data.digest())

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; the rest of an epoch's shuffle is left for another epoch."""
        return max(1, self.samples // self.batch_size)

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.epochs

    def indexes(self, step: int, group: Group) -> Tensor:
        """Indexes of this process's samples in step `step` (from 0): the same in every attempt, for they follow from the seed."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = _order(self.samples, self.seed * 1_000_003 + epoch)
        return order[position * self.batch_size : (position + 1) * self.batch_size][group.rank :: group.size]


@lru_cache(maxsize=1)
def _order(samples: int, seed: int) -> Tensor:
    """An epoch's, drawn once for all of its steps."""
    return torch.randperm(samples, generator=torch.Generator().manual_seed(seed))


def fit(
    pod: Pod,
    group: Group,
    schedule: Schedule,
    parameters: Mapping[str, str],
    model: nn.Module,
    loss_of: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    """Trains `model` in place; `loss_of(model, indexes)` is the mean loss of the samples at `indexes`.

    Random numbers in a step (dropout) follow from seed, step and rank, so a resumed training takes the very steps that
    an uninterrupted one would. On SIGTERM of any process the lead saves a checkpoint and all end with exit code 143.
    """
    if schedule.batch_size < group.size:
        raise TrainingInputError(
            f"parameter 'batchSize' is {schedule.batch_size}, fewer than the {group.size} processes that share it"
        )
    model.to(group.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    first = _resume(pod, group, schedule, parameters, model, optimizer)
    parallel = DistributedDataParallel(model) if group.size > 1 else model
    steps = StepLog(pod.steps_file, schedule.total, enabled=group.leads)
    terminated: list[int] = []

    def terminate(number: int, _: FrameType | None) -> None:
        terminated.append(number)

    def save(step: int) -> None:
        if group.leads and pod.checkpoint:
            state = model.state_dict(), optimizer.state_dict()
            checkpoint.save(pod.checkpoint, step, *state, parameters, schedule.data)

    previous = signal.signal(signal.SIGTERM, terminate)
    saved = time.monotonic()
    for step in range(first, schedule.total):
        torch.manual_seed((schedule.seed * 1_000_003 + step) * 4096 + group.rank)
        stop = _asked(group, terminated)
        optimizer.zero_grad()
        loss = loss_of(parallel, schedule.indexes(step, group))
        loss.backward()
        optimizer.step()
        steps.write(
            step + 1, step // schedule.steps_per_epoch + 1, loss.item(), min(schedule.batch_size, schedule.samples)
        )
        if stop():
            save(step + 1)
            log.warning("ended by SIGTERM after step %d of %d", step + 1, schedule.total)
            raise SystemExit(SIGTERM_EXIT_CODE)
        if time.monotonic() - saved >= pod.checkpoint_interval or step + 1 == schedule.total:
            save(step + 1)
            saved = time.monotonic()
    signal.signal(signal.SIGTERM, previous)
    steps.close()
    model.to("cpu").eval()


def _asked(group: Group, terminated: list[int]) -> Callable[[], bool]:
    """Whether to end after this step. Several processes agree, for one that left alone would take the checkpoint with it: each is
    asked when the step begins, and hears at its end, so that the answer takes no time of its own."""
    if group.size == 1:
        return lambda: bool(terminated)
    any_of = torch.tensor([len(terminated)], device=group.device)
    work = distributed.all_reduce(any_of, op=distributed.ReduceOp.MAX, async_op=True)

    def heard() -> bool:
        work.wait()
        return bool(any_of.item())

    return heard


def _resume(
    pod: Pod,
    group: Group,
    schedule: Schedule,
    parameters: Mapping[str, str],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Restores the newest checkpoint; returns the number of steps already done."""
    state = checkpoint.load(pod.checkpoint, parameters, schedule.data) if pod.resume and pod.checkpoint else None
    done = state["step"] if state else 0
    if group.size > 1:
        agreed = torch.tensor([done, -done], device=group.device)
        distributed.all_reduce(agreed, op=distributed.ReduceOp.MIN)
        if int(agreed[0]) != -int(agreed[1]):
            raise RuntimeError(
                f"rank {group.rank} found a checkpoint of step {done}, others another: the folder must be one for all nodes"
            )
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        log.info("resumed after step %d", done)
    return int(done)
