from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from zsl_lab.methods.cada_vae.losses import (
    absolute_errors,
    draw,
    kl_to_standard_normal,
    wasserstein_distance,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).requires_grad_()


def assert_same_value_and_gradients(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)
    for mine, reference in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(mine, reference)


def test_absolute_errors_sum_dimensions_and_average_samples_of_each_batch_of_outputs() -> None:
    targets, outputs = drawn(3, 4), drawn(6, 4, seed=1)
    found = absolute_errors(targets, outputs)
    assert found.shape == (2,)
    for k in range(2):
        expected = torch.zeros((), dtype=torch.float64)
        for b in range(3):
            for j in range(4):
                expected = expected + (outputs[3 * k + b, j] - targets[b, j]).abs() / 3
        assert_same_value_and_gradients(absolute_errors(targets, outputs)[k], expected, [outputs])


def test_kl_is_that_of_torch_distributions_in_value_and_gradient() -> None:
    mean, log_variance = drawn(5, 3), drawn(5, 3, seed=1)
    q = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    p = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    assert_same_value_and_gradients(
        kl_to_standard_normal(mean, log_variance), kl_divergence(q, p).mean(), [mean, log_variance]
    )


def test_the_distance_is_that_of_means_and_standard_deviations_in_value_and_gradient() -> None:
    inputs = [drawn(5, 3, seed=i) for i in range(4)]
    mean, log_variance, other_mean, other_log_variance = inputs
    expected = torch.zeros((), dtype=torch.float64)
    for b in range(5):
        square = torch.zeros((), dtype=torch.float64)
        for j in range(3):
            square = square + (mean[b, j] - other_mean[b, j]) ** 2
            deviations = torch.exp(log_variance[b, j] / 2), torch.exp(other_log_variance[b, j] / 2)
            square = square + (deviations[0] - deviations[1]) ** 2
        expected = expected + square.sqrt() / 5
    assert_same_value_and_gradients(wasserstein_distance(*inputs), expected, inputs)


def test_equal_gaussians_have_no_distance_and_no_gradient() -> None:
    mean, log_variance = drawn(2, 3), drawn(2, 3, seed=1)
    distance = wasserstein_distance(mean, log_variance, mean.detach(), log_variance.detach())
    gradients = torch.autograd.grad(distance, [mean, log_variance])
    assert distance.item() == 0
    assert all(not g.any() for g in gradients)


def test_z_has_the_given_mean_and_variance() -> None:
    mean, log_variance = drawn(1, 3).detach(), drawn(1, 3, seed=1).detach()
    torch.manual_seed(0)
    z = draw(mean.expand(40_000, 3), log_variance.expand(40_000, 3), by_dimension=True)
    torch.testing.assert_close(z.mean(0), mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(z.var(0), log_variance[0].exp(), atol=0, rtol=0.05)
    correlations = torch.corrcoef(z.T)
    assert float((correlations - torch.eye(3)).abs().max()) < 0.05


def test_one_number_a_sample_moves_all_dimensions_by_their_variances() -> None:
    mean, log_variance = drawn(6, 3), drawn(6, 3, seed=1)
    torch.manual_seed(0)
    z = draw(mean, log_variance, by_dimension=False)
    moved = ((z - mean) / log_variance.exp()).detach()
    torch.testing.assert_close(moved, moved[:, :1].expand(6, 3))
    assert len(set(moved[:, 0].tolist())) == 6
    # dz / d(log-variance) = variance times the number
    (gradient,) = torch.autograd.grad(z.sum(), log_variance)
    torch.testing.assert_close(gradient, (log_variance.exp() * moved).detach())
