"""Muon's matrices of one shape move together as they would move one by one, whatever group they are in."""

import pytest

torch = pytest.importorskip("torch", reason="offline stack not installed")

from training.muon import COEFFICIENTS, Muon, orthogonalise  # noqa: E402

SHAPES = [(8, 6), (6, 8), (8, 6), (6, 6), (8, 6)]


def one_by_one(parameter, gradients, lr, momentum, weight_decay):
    """The rule for one matrix, as it is written in the post."""
    parameter, moving = parameter.clone(), torch.zeros_like(parameter)
    for gradient in gradients:
        moving = momentum * moving + (1 - momentum) * gradient
        x = momentum * moving + (1 - momentum) * gradient
        x = x.T if x.shape[0] > x.shape[1] else x
        x = x / x.norm()
        for _ in range(5):
            a, b, c = COEFFICIENTS
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        x = x.T if parameter.shape[0] > parameter.shape[1] else x
        stretch = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
        parameter = parameter * (1 - lr * weight_decay) - lr * stretch * x
    return parameter


def test_all_at_once_is_as_one_by_one():
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    gradients = [[torch.randn(shape) for _ in range(3)] for shape in SHAPES]
    groups = [{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:], "lr": 0.02, "momentum": 0.8}]
    want = [
        one_by_one(p.detach(), g, *((0.1, 0.95) if n < 2 else (0.02, 0.8)), 0.05)
        for n, (p, g) in enumerate(zip(parameters, gradients, strict=True))
    ]
    optimiser = Muon(groups, lr=1.0, weight_decay=0.05)
    for step in range(3):
        for parameter, given in zip(parameters, gradients, strict=True):
            parameter.grad = given[step]
        optimiser.step()
    for got, wanted in zip(parameters, want, strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)


def test_a_matrix_without_a_gradient_stays():
    still, moved = (torch.nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    moved.grad = torch.eye(3)
    Muon([still, moved]).step()
    assert torch.equal(still, torch.ones(3, 3)) and not torch.equal(moved, torch.ones(3, 3))


def test_singular_values_end_near_one():
    made = orthogonalise(torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(1)))
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.6 and values.max() < 1.3
