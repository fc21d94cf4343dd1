from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from zsl_lab.methods.mmvae.config import Pairs
from zsl_lab.methods.mmvae.losses import latent_divergence, prior_separation
from zsl_lab.nn.gaussian import kl_to_unit_variance, reparameterize, squared_distances
from zsl_lab.nn.losses import squared_error


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


def test_kl_is_that_of_torch_distributions_in_value_and_gradient() -> None:
    mean, log_variance, prior = drawn(5, 3), drawn(5, 3, seed=1), drawn(5, 3, seed=2)
    q = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    p = Independent(Normal(prior, torch.ones_like(prior)), 1)
    expected = kl_divergence(q, p)
    torch.testing.assert_close(kl_to_unit_variance(mean, log_variance, prior), expected)
    assert_same_value_and_gradients(
        latent_divergence(mean, log_variance, prior), expected.mean(), [mean, log_variance, prior]
    )


def test_kl_of_a_gaussian_with_itself_is_zero() -> None:
    mean = drawn(4, 6)
    assert kl_to_unit_variance(mean, torch.zeros_like(mean), mean).abs().max().item() == 0


def test_squared_error_sums_dimensions_and_averages_samples() -> None:
    x, y = drawn(4, 3), drawn(4, 3, seed=1)
    expected = sum((x[b, j] - y[b, j]) ** 2 for b in range(4) for j in range(3)) / 4
    assert isinstance(expected, Tensor)
    assert_same_value_and_gradients(squared_error(x, y), expected, [x, y])


def written_out_separation(means: Tensor, labels: list[int], d: float, pairs: Pairs) -> Tensor:
    rows = range(len(labels))
    if pairs == "classes":
        rows_of_classes = [labels.index(c) for c in sorted(set(labels))]
        return written_out_separation(
            means[rows_of_classes], [labels[i] for i in rows_of_classes], d, "different"
        )
    total = torch.zeros((), dtype=means.dtype)
    for i, j in itertools.product(rows, rows):
        if pairs == "different" and labels[i] == labels[j]:
            continue
        distance = torch.stack(
            [(means[i, k] - means[j, k]).abs() for k in range(means.shape[1])]
        ).sum()
        total = total + torch.clamp(d * means.shape[1] - distance, min=0) ** 2
    return total / len(labels)


@pytest.mark.parametrize("pairs", ["different", "all", "classes"])
@pytest.mark.parametrize("d", [0.3, 1.0, 2.0])
def test_prior_separation_is_the_written_out_sum_in_value_and_gradient(
    pairs: Pairs, d: float
) -> None:
    means, labels = drawn(7, 4), [2, 0, 2, 5, 0, 1, 5]
    for given in (d, torch.tensor(d, dtype=means.dtype)):  # a tensor in joint training
        found = prior_separation(means, torch.tensor(labels), given, pairs)
        expected = written_out_separation(means, labels, d, pairs)
        assert_same_value_and_gradients(found, expected, [means])


def test_prior_separation_is_zero_where_classes_are_far_apart() -> None:
    means = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    assert prior_separation(means, torch.tensor([0, 1]), 1.0, "different").item() == 0


def test_prior_separation_of_one_class_is_zero_unless_all_pairs_count() -> None:
    means, labels = torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)
    assert prior_separation(means, labels, 1.0, "different").item() == 0
    assert prior_separation(means, labels, 1.0, "all").item() == pytest.approx(3 * 3 * 4 / 3)


def test_reparameterize_draws_the_given_mean_and_deviation() -> None:
    torch.manual_seed(0)
    mean, log_variance = (
        torch.tensor([[1.0, -2.0]]).expand(200_000, 2),
        torch.tensor([[0.0, 1.0]]).expand(200_000, 2),
    )
    z = reparameterize(mean, log_variance)
    torch.testing.assert_close(z.mean(0), torch.tensor([1.0, -2.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), torch.tensor([1.0, 2.718]), atol=0.04, rtol=0)


def test_squared_distances_are_those_of_cdist() -> None:
    points, centres = drawn(6, 5), drawn(4, 5, seed=1)
    torch.testing.assert_close(
        squared_distances(points, centres), torch.cdist(points, centres).square()
    )


@pytest.mark.parametrize("pairs", ["different", "all", "classes"])
@pytest.mark.parametrize("most", [1, 7, 23, 60, 143])
def test_separation_in_blocks_has_the_same_value_and_gradient(
    pairs: Pairs, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    means, labels = drawn(12, 3), torch.arange(12) % 5
    expected = prior_separation(means, labels, 1.0, pairs)
    monkeypatch.setattr("zsl_lab.methods.mmvae.losses._MAX_PAIRS", most)
    found = prior_separation(means, labels, 1.0, pairs)
    assert_same_value_and_gradients(3 * found, 3 * expected, [means])
    with torch.no_grad():
        torch.testing.assert_close(prior_separation(means, labels, 1.0, pairs), expected)
