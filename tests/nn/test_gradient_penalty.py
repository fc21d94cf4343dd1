from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zsl_lab.nn.gradient_penalty import gradient_penalty


def test_the_penalty_of_a_linear_critic_is_that_of_its_weights_norm() -> None:
    weight = torch.tensor([3.0, 4.0, 0.0])  # norm 5 everywhere
    real, generated = torch.randn(7, 3), torch.randn(7, 3)
    assert gradient_penalty(lambda x: x @ weight, real, generated).item() == pytest.approx(
        (5 - 1) ** 2
    )


def test_a_critic_of_slope_one_is_not_penalised() -> None:
    weight = torch.tensor([0.6, 0.8])
    assert gradient_penalty(
        lambda x: x @ weight, torch.randn(5, 2), torch.randn(5, 2)
    ).item() == pytest.approx(0, abs=1e-12)


def test_the_penalty_of_a_quadratic_critic_is_taken_between_real_and_generated() -> None:
    # the gradient of ||x||^2 / 2 is x itself, so its norm tells where it was taken
    real, generated = torch.full((1000, 1), 3.0), torch.full((1000, 1), 1.0)
    seen: list[Tensor] = []

    def critic(points: Tensor) -> Tensor:
        seen.append(points)
        return points.square().sum(1) / 2

    found = gradient_penalty(critic, real, generated)
    (points,) = seen
    assert points.min().item() >= 1
    assert points.max().item() <= 3
    assert points.std().item() > 0.4  # a different place for each pair
    assert found.item() == pytest.approx((points.detach().abs() - 1).square().mean().item())


def test_the_penalty_has_the_gradient_written_out_by_hand() -> None:
    weight = torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64, requires_grad=True)
    real, generated = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    penalty = gradient_penalty(lambda x: x @ weight, real, generated)
    penalty.backward()  # type: ignore[no-untyped-call]
    # d/dw (||w|| - 1)^2 = 2 (||w|| - 1) w / ||w||, and ||w|| = 3
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, 2 * (3 - 1) * weight.detach() / 3)


def test_no_gradient_reaches_the_generated_samples() -> None:
    weight = torch.ones(2, requires_grad=True)
    generated = torch.randn(3, 2, requires_grad=True)
    gradient_penalty(
        lambda x: (x * weight).square().sum(1), torch.randn(3, 2), generated
    ).backward()  # type: ignore[no-untyped-call]
    assert generated.grad is None
    assert weight.grad is not None
