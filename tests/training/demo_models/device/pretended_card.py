"""A card that is not there: tensors of the CPU that say they are on one and refuse to meet those that are not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CARD, CPU = torch.device("cuda", 0), torch.device("cpu")
MAY_MEET = {"copy_", "__getitem__", "__setitem__"}  # the CPU's numbers may choose among the card's


class OnCard(Tensor):
    """A tensor that is taken to be on the card."""


def on_card(tensor: Tensor) -> Tensor:
    """A copy on the card."""
    return tensor.detach().clone().as_subclass(OnCard)


def moved(module: nn.Module) -> nn.Module:
    """The module with its weights and buffers on the card."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None and not isinstance(weight, OnCard):
                part._parameters[name] = on_card(weight).requires_grad_(weight.requires_grad)
                part._parameters[name]._is_param = True  # what nn.Parameter asks of its subclasses
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.as_subclass(OnCard)
    return module


class PretendedCard(TorchFunctionMode):
    """While inside, "cuda" is where `OnCard` tensors are; RuntimeError where CUDA would raise one for a mixture.

    Not seen: what functions of torch written in Python do inside themselves.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call of torch."""
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        asked = getattr(getattr(func, "__self__", None), "__name__", "") if name == "__get__" else ""
        if asked in ("device", "is_cuda"):
            there = isinstance(args[0], OnCard)
            return there if asked == "is_cuda" else CARD if there else CPU
        places = [where for where in (*args, *kwargs.values()) if isinstance(where, torch.device)]
        goes = any(where.type == "cuda" for where in places) if places else None
        if not places:
            goes = self._together(name, tree_leaves((args, kwargs)))
        args, kwargs = tree_map(lambda one: CPU if isinstance(one, torch.device) else one, (args, kwargs))
        with torch._C.DisableTorchFunctionSubclass():
            made = func(*args, **kwargs)
        if goes is None:
            return made
        return tree_map(lambda one: _placed(one, goes), made)

    @staticmethod
    def _together(name: str, given: list[Any]) -> bool | None:
        tensors = [one for one in given if isinstance(one, Tensor)]
        there = [isinstance(one, OnCard) for one in tensors]
        if not any(there):
            return None
        if name == "numpy":
            raise RuntimeError("numpy: of a tensor on the card")
        here = [one for one in tensors if not isinstance(one, OnCard) and one.dim()]
        if here and not (name in MAY_MEET and there[0]):
            raise RuntimeError(f"{name}: a tensor {tuple(here[0].shape)} on the CPU meets one on the card")
        return name != "cpu"


def _placed(one: Any, there: bool) -> Any:
    """A result where it belongs; one that is there already stays itself, as a weight has to."""
    if not isinstance(one, Tensor) or isinstance(one, OnCard) == there:
        return one
    return one.as_subclass(OnCard if there else Tensor)
