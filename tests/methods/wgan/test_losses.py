from __future__ import annotations

import math

import torch
from torch import Tensor

from zsl_lab.methods.wgan.losses import critic_terms, reconstruction, semantic_error
from zsl_lab.methods.wgan.networks import Critic


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def assert_same_value_and_gradient(found: Tensor, expected: Tensor, by: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    (mine,) = torch.autograd.grad(found, by)
    (reference,) = torch.autograd.grad(expected, by)
    torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-6)


def test_the_critic_compares_means_and_is_penalised_at_points_between() -> None:
    critic = Critic(6, 4, 7).double()
    real, generated, a = drawn(5, 6), drawn(5, 6, seed=1).requires_grad_(), drawn(5, 4, seed=2)
    torch.manual_seed(0)
    distance, penalty = critic_terms(critic, real, generated, a)
    torch.manual_seed(0)
    shares = torch.rand(5, 1, dtype=torch.float64)
    slopes = []
    for x, g, c, share in zip(real, generated.detach(), a, shares, strict=True):
        point = (share * x + (1 - share) * g).requires_grad_()
        value = critic(point[None], c[None]).sum()
        (slope,) = torch.autograd.grad(value, point, create_graph=True)
        slopes.append((slope.square().sum().sqrt() - 1) ** 2)
    weight = critic.first.of_input.weight
    assert_same_value_and_gradient(penalty, sum(slopes) / torch.tensor(5.0), weight)
    expected = sum(critic(real, a)) / 5 - sum(critic(generated.detach(), a)) / 5
    assert_same_value_and_gradient(distance, expected, weight)
    assert generated.grad is None


def test_reconstruction_is_the_cross_entropy_of_every_number_summed_over_a_row() -> None:
    logits, x = drawn(5, 3).requires_grad_(), drawn(5, 3, seed=1).sigmoid()
    expected = torch.zeros((), dtype=torch.float64)
    for b in range(5):
        for i in range(3):
            p = 1 / (1 + torch.exp(-logits[b, i]))
            expected = expected - (x[b, i] * p.log() + (1 - x[b, i]) * (1 - p).log()) / 5
    assert_same_value_and_gradient(reconstruction(logits, x), expected, logits)
    saturated = reconstruction(torch.full((1, 1), 100.0), torch.zeros(1, 1))
    assert math.isclose(saturated.item(), 100.0, rel_tol=1e-5)


def test_semantic_error_weights_absolute_errors_by_their_squares() -> None:
    predicted, a = drawn(5, 4).requires_grad_(), 3 * drawn(5, 4, seed=1)
    expected = torch.zeros((), dtype=torch.float64)
    for p, target in zip(predicted, a, strict=True):
        error = p - target / target.square().sum().sqrt()
        length = error.square().sum().sqrt()
        for e in error:
            expected = expected + (e**2 / length) * e.abs() / 5
    assert_same_value_and_gradient(semantic_error(predicted, a), expected, predicted)


def test_semantics_that_are_met_exactly_give_no_error_and_no_gradient() -> None:
    a = torch.nn.functional.normalize(drawn(2, 4).float(), dim=1)
    predicted = torch.nn.functional.normalize(a, dim=-1).requires_grad_()
    found = semantic_error(predicted, a)
    (gradient,) = torch.autograd.grad(found, predicted)
    assert found.item() < 1e-6
    assert gradient.isfinite().all()
