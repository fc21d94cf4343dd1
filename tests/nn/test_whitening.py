from __future__ import annotations

import torch

from zsl_lab.nn.whitening import within_class_whitening


def drawn(samples: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (samples,), generator=generator) * 10
    mixing = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(samples, 5, generator=generator, dtype=torch.float64) @ mixing
    return noise + 50 * torch.randn(31, 5, generator=generator, dtype=torch.float64)[labels], labels


def covariance_within(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(features.shape[1], features.shape[1], dtype=features.dtype)
    for i, label in enumerate(labels):
        apart = features[i] - features[labels == label].mean(0)
        total += torch.outer(apart, apart)
    return total / len(features)


def test_without_shrinkage_samples_scatter_equally_in_every_direction_within_their_classes() -> (
    None
):
    features, labels = drawn()
    whitened = features @ within_class_whitening(features, labels, 1e-12)
    torch.testing.assert_close(
        covariance_within(whitened, labels), torch.eye(5, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_the_square_of_its_inverse_is_the_shrunk_covariance() -> None:
    features, labels = drawn()
    scatter = covariance_within(features, labels)
    expected = 0.7 * scatter + 0.3 * scatter.diagonal().mean() * torch.eye(5, dtype=torch.float64)
    inverse = torch.linalg.inv(within_class_whitening(features, labels, 0.3))
    torch.testing.assert_close(inverse @ inverse, expected)


def test_full_shrinkage_leaves_directions_as_they_are() -> None:
    features, labels = drawn()
    whitening = within_class_whitening(features, labels, 1.0)
    torch.testing.assert_close(whitening, whitening[0, 0] * torch.eye(5, dtype=torch.float64))


def test_fewer_samples_than_dimensions_give_finite_numbers() -> None:
    features, labels = drawn(4)
    found = within_class_whitening(features, torch.zeros_like(labels), 0.5)
    assert found.isfinite().all()
    torch.testing.assert_close(found, found.T)


def test_where_no_two_samples_of_a_class_differ_nothing_is_whitened() -> None:
    features = torch.randn(3, 5)
    assert torch.equal(within_class_whitening(features, torch.arange(3), 0.5), torch.eye(5))
