from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from zsl_lab.methods.bilinear import losses

TARGETS = torch.tensor([2, 0, 3, 3, 1])


def scores(spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = spread * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    drawn[1, 0] = 50.0  # a sample that no class violates
    return drawn.requires_grad_()


def hinge(f: Tensor, row: int, other: int, margin: float) -> Tensor:
    return torch.relu(margin + f[row, other] - f[row, int(TARGETS[row])])


def others(row: int) -> list[int]:
    return [c for c in range(4) if c != int(TARGETS[row])]


def unweighted(f: Tensor, margin: float) -> Tensor:
    terms = [hinge(f, b, c, margin) for b in range(5) for c in others(b)]
    return torch.stack(terms).sum() / 5


def rank_weighted(f: Tensor, margin: float) -> Tensor:
    total = f.new_zeros(())
    for b in range(5):
        found = [hinge(f, b, c, margin) for c in others(b)]
        rank = sum(h.item() > 0 for h in found)
        if rank:
            beta = sum(1 / i for i in range(1, rank + 1))
            total = total + beta / rank * torch.stack(found).sum()
    return total / 5


def worst_violator(f: Tensor, margin: float) -> Tensor:
    total = f.new_zeros(())
    for b in range(5):
        worst = max(others(b), key=lambda c: f[b, c].item())
        total = total + hinge(f, b, worst, margin)
    return total / 5


@pytest.mark.parametrize("margin", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (losses.unweighted, unweighted),
        (losses.rank_weighted, rank_weighted),
        (losses.worst_violator, worst_violator),
    ],
)
def test_a_loss_is_the_written_out_one_in_value_and_gradient(
    loss: Callable[[Tensor], Tensor], reference: Callable[[Tensor, float], Tensor], margin: float
) -> None:
    f = scores()
    found = loss(losses.violations(f, TARGETS, margin))
    expected = reference(f, margin)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(found, f), torch.autograd.grad(expected, f))


def test_with_one_violation_a_sample_all_rankings_are_one_loss() -> None:
    f = torch.tensor([[0.5, 0.0, -9.0], [-9.0, 0.2, 0.0]], requires_grad=True)
    hinges = losses.violations(f, torch.tensor([0, 1]), 1.0)
    assert (hinges > 0).sum(1).tolist() == [1, 1]
    values = [
        loss(hinges).item()
        for loss in (losses.unweighted, losses.rank_weighted, losses.worst_violator)
    ]
    assert values == pytest.approx([(0.5 + 0.8) / 2] * 3)


def test_the_own_class_never_violates() -> None:
    hinges = losses.violations(scores(), TARGETS, 3.0)
    assert (hinges.gather(1, TARGETS[:, None]) == 0).all()


def test_without_violations_every_loss_and_gradient_is_0() -> None:
    f = (100 * torch.nn.functional.one_hot(TARGETS, 4)).double().requires_grad_()
    hinges = losses.violations(f, TARGETS, 1.0)
    total = losses.rank_weighted(hinges) + losses.worst_violator(hinges)
    (gradient,) = torch.autograd.grad(total + losses.sampled_violator(hinges, TARGETS), f)
    assert (total.item(), gradient.abs().max().item()) == (0.0, 0.0)


def test_the_sampled_violator_is_one_other_class_in_value_and_gradient() -> None:
    f = scores()
    torch.manual_seed(3)
    found = losses.sampled_violator(losses.violations(f, TARGETS, 1.0), TARGETS)
    torch.manual_seed(3)
    drawn = torch.randint(3, (5,)).tolist()
    expected = torch.stack([hinge(f, b, others(b)[drawn[b]], 1.0) for b in range(5)]).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(found, f), torch.autograd.grad(expected, f))


def test_every_other_class_is_sampled_equally_often_and_the_own_class_never() -> None:
    # violation c of the sample is worth 10^c, so that sums count the draws
    targets = torch.full((3000,), 1)
    hinges = torch.tensor([[1.0, 1e9, 1e4, 1e8]]).expand(3000, 4)
    torch.manual_seed(0)
    mean = losses.sampled_violator(hinges.double(), targets).item()
    counts = [round(mean * 3000) % 10_000, round(mean * 3000) // 10_000 % 10_000]
    counts.append(round(mean * 3000) // 100_000_000)
    assert sum(counts) == 3000
    assert all(900 < count < 1100 for count in counts)
