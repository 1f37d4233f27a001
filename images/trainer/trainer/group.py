"""The processes that train together: one alone, or those that torchrun or Noria's environment variables name."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from cores import cores
from torch import distributed


@dataclass(frozen=True)
class Group:
    """This process among all."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[Group]:
    """Joins the group of `RANK`, `WORLD_SIZE` and `LOCAL_RANK` over nccl on GPUs, else gloo; alone when they are not set."""
    size, local = int(environment.get("WORLD_SIZE", "1")), int(environment.get("LOCAL_RANK", "0"))
    torch.set_num_threads(max(1, cores() // int(environment.get("LOCAL_WORLD_SIZE", "1"))))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if size == 1:
        yield Group(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()
