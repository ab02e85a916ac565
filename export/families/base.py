"""What the exporter asks of a model family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from export.onnx_graph import Graph
from segzero_ros.backends.decoding.families import Family
from segzero_ros.backends.torch_cuda.vision import VisionGrid

NewGraph = Callable[[str], Graph]


class ExportFamily(Protocol):
    """One family's graphs: everything in which checkpoints of it differ from those of another.

    Rows of the embeddings, of the vision graph's tokens and of the decoder's input have one width: `hidden`, and behind
    it `hidden` for each of `deepstack` decoder layers, which is added to the hidden state after that layer.
    """

    facts: Family

    def model_class(self) -> Any:
        """Return the class in transformers."""
        ...

    def limits(self, config: Any) -> dict[str, tuple[Any, Any]]:
        """Return what the graphs do not express otherwise: what it is -> (got, wanted)."""
        ...

    def grid(self, config: Any, image_size: tuple[int, int]) -> VisionGrid:
        """Return the patches of a picture (width, height), in the order the vision graph has them; ValueError."""
        ...

    def head_dim(self, config: Any) -> int:
        """Return the width of a decoder's head."""
        ...

    def deepstack(self, config: Any) -> int:
        """Return how many decoder layers get an addition from the vision tower."""
        ...

    def exact_weights(self, visual: nn.Module) -> list[torch.Tensor]:
        """Return the matrices of the tower that are stored in FP32 whatever the store."""
        ...

    def write_vision(self, visual: nn.Module, grid: VisionGrid, path: Path, new_graph: NewGraph) -> None:
        """Write the vision graph: pixels (1, 3, H, W) normalised -> tokens (M, width)."""
        ...
