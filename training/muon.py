"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) in float32.

`torch.optim.Muon` orthogonalises in bfloat16, which a CPU without bfloat16 units does 50 times slower; this one keeps
the gradient's type and treats all matrices of one shape in a batch, so that a GPU starts few kernels. Same rule, same
defaults.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # the quintic of the Muon post: fast at small singular values


def orthogonalise(gradient: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrices of (n, rows, columns).

    Singular values end in about 0.7..1.2.
    """
    a, b, c = COEFFICIENTS
    tall = gradient.shape[1] > gradient.shape[2]
    x = gradient.transpose(1, 2) if tall else gradient
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; the update of a rows x columns matrix is scaled by sqrt(max(1, rows / columns))."""

    def __init__(
        self, params: Iterable[Any], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002 - the signature of torch.optim
        """One update of every matrix that has a gradient: those of one shape at once, of whatever group."""
        shapes: dict[tuple[int, ...], list[tuple[Tensor, dict[str, Any]]]] = defaultdict(list)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[tuple(parameter.shape)].append((parameter, group))
        for shape, members in shapes.items():
            direction = orthogonalise(self._nesterov(members))
            stretch = max(1.0, shape[0] / shape[1]) ** 0.5
            rates = [group["lr"] for _, group in members]
            parameters = [parameter for parameter, _ in members]
            decay = [1 - rate * group["weight_decay"] for rate, (_, group) in zip(rates, members, strict=True)]
            torch._foreach_mul_(parameters, decay)
            lengths = torch.tensor([-rate * stretch for rate in rates], dtype=direction.dtype, device=direction.device)
            torch._foreach_add_(parameters, list((direction * lengths[:, None, None]).unbind()))

    def _nesterov(self, members: Sequence[tuple[Tensor, dict[str, Any]]]) -> Tensor:
        """(n, rows, columns): the gradients with their momenta, which they have joined."""
        gradients, momenta = [], []
        for parameter, _ in members:
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
            momenta.append(state["momentum"])
        for share in {group["momentum"] for _, group in members}:
            chosen = [n for n, (_, group) in enumerate(members) if group["momentum"] == share]
            torch._foreach_lerp_([momenta[n] for n in chosen], [gradients[n] for n in chosen], 1 - share)
        shares = torch.tensor([group["momentum"] for _, group in members], device=momenta[0].device)
        return torch.stack(gradients).lerp(torch.stack(momenta), shares[:, None, None])
