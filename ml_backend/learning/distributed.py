"""Several processes that train one network together, one a GPU or machine.

Knows torch.distributed; reads no environment: rank and world size are given (`torchrun` puts them
into RANK, WORLD_SIZE and LOCAL_RANK). Nothing is pickled between processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

TIMEOUT = timedelta(minutes=30)  # rank 0 may be kept waiting by `give_way`


@dataclass(frozen=True)
class Distributed:
    """This process's place among those that train together.

    `control` carries words and flags, not weights.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    control: Any = None  # a group on the CPU, for flags that must not wait for a GPU

    @property
    def writes(self) -> bool:
        """Tell whether this process writes checkpoints and reports."""
        return self.rank == 0

    @classmethod
    @contextmanager
    def join(
        cls, rank: int, world_size: int, local_rank: int, *, address: str = "env://",
        use_gpu: bool | None = None,
    ) -> Iterator[Distributed]:  # fmt: skip
        """Meet the other processes; leave them at the end.

        `address` is how torch finds rank 0: "env://" for torchrun, or "tcp://host:port",
        "file:///path". NCCL where there are GPUs, else gloo.
        """
        gpu = torch.cuda.is_available() if use_gpu is None else use_gpu
        if gpu:
            torch.cuda.set_device(local_rank)
        dist.init_process_group(
            "nccl" if gpu else "gloo",
            init_method=address, rank=rank, world_size=world_size, timeout=TIMEOUT,
        )  # fmt: skip
        try:
            yield cls(rank, world_size, local_rank, dist.new_group(backend="gloo", timeout=TIMEOUT))
        finally:
            dist.destroy_process_group()

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Make backward average the gradients over all processes; begin with rank 0's weights."""
        if self.world_size == 1:
            return model
        ids = [device.index or 0] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)

    def any(self, flag: bool) -> bool:
        """Tell whether it is true in any process."""
        return self.total([float(flag)])[0] > 0

    def total(self, values: list[float]) -> list[float]:
        """Add up over the processes."""
        if self.world_size == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums, group=self.control)
        return list(sums.tolist())

    def from_rank_0(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite tensors by rank 0's, in place; all processes have the same names and shapes."""
        if self.world_size == 1:
            return
        for name in sorted(tensors):
            whole = tensors[name].detach().contiguous()
            dist.broadcast(whole, 0)
            tensors[name].detach().copy_(whole)

    def words_from_rank_0(self, words: Any) -> Any:
        """Hand rank 0's JSON-able words to every process."""
        if self.world_size == 1:
            return words
        data = torch.tensor(list(json.dumps(words).encode()), dtype=torch.uint8)
        length = torch.tensor([len(data)])
        dist.broadcast(length, 0, group=self.control)
        if self.rank != 0:
            data = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(data, 0, group=self.control)
        return json.loads(bytes(data.tolist()))


ALONE = Distributed()
