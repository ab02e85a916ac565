"""Steps prepared ahead of time by worker processes: questions worded and tokenised, changes of pictures drawn.

The processes are forked, before other threads of ours begin, know shared names of shards and never touch the device.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from training.demo_models.reasoner.batch import Prepared

AHEAD = 3  # steps that each process is ahead at most


class Preparing(Protocol):
    """What makes a step's data from its number alone."""

    def prepare(self, step: int) -> Any:
        """The data of `step`."""
        ...


class _Steps(Dataset[Prepared]):
    def __init__(self, source: Preparing) -> None:
        self.source = source

    def __getitem__(self, step: int) -> Any:
        return self.source.prepare(step)


@contextmanager
def prepared_ahead(source: Preparing, first: int, workers: int, pinned: bool) -> Iterator[Iterator[Any]]:
    """`source.prepare` of step `first` and all after it, in order, made by `workers` processes, begun now.

    `pinned`: in memory that a GPU can read while the CPU goes on.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive a fork
    loader = DataLoader(
        _Steps(source),
        batch_size=None,
        sampler=range(first, 1 << 31),
        num_workers=workers,
        prefetch_factor=AHEAD,
        pin_memory=pinned,
        multiprocessing_context="fork",
        worker_init_fn=_begin,
    )
    steps = iter(loader)
    try:
        yield steps
    finally:
        steps._shutdown_workers()  # type: ignore[attr-defined]  # noqa: SLF001 - else only when it is collected


def _begin(_: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the training's, which ends its processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def default_workers(device: torch.device, cores: Callable[[], int | None] = os.cpu_count) -> int:
    """How many: none on a CPU, which has no time to lose; half of the cores beside a GPU."""
    return 0 if device.type == "cpu" else max(1, (cores() or 2) // 2)
