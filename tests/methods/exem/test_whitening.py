from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zsl_lab.methods.exem.config import Whitening
from zsl_lab.methods.exem.whitening import Scatter, class_means, mapped
from zsl_lab.nn import moments


def samples(count: int = 30, dim: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return features * torch.arange(1.0, dim + 1), torch.arange(count) % 3


def by_loops(features: Tensor, labels: Tensor) -> Tensor:
    total = torch.zeros(features.shape[1], features.shape[1], dtype=features.dtype)
    for x, label in zip(features, labels, strict=True):
        members = [row for row, other in zip(features, labels, strict=True) if other == label]
        residual = x - sum(members) / len(members)
        for i in range(len(x)):
            for j in range(len(x)):
                total[i, j] += residual[i] * residual[j] / len(features)
    return total


def as_matrix(found: Tensor) -> Tensor:
    return found.diag() if found.ndim == 1 else found


def measured(features: Tensor, labels: Tensor, kind: Whitening = "full") -> Scatter:
    means = class_means(features, labels, int(labels.max()) + 1)
    return Scatter.measure(features, labels, means, kind)


def test_the_scatter_is_the_mean_product_of_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "BLOCK", 30)
    features, labels = samples()
    torch.testing.assert_close(measured(features, labels).matrix, by_loops(features, labels))


def test_diagonal_whitening_keeps_the_variances_alone() -> None:
    features, labels = samples()
    expected = by_loops(features, labels).diagonal()
    torch.testing.assert_close(measured(features, labels, "diagonal").matrix, expected)


@pytest.mark.parametrize("shrinkage", [1e-6, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["full", "diagonal", "none"])
def test_the_whitening_is_a_root_of_the_inverse_of_the_shrunk_scatter(
    kind: Whitening, shrinkage: float
) -> None:
    scatter = measured(*samples(), kind)
    s = as_matrix(scatter.matrix)
    level = sum(float(s[i, i]) for i in range(4)) / 4
    expected = torch.linalg.inv((1 - shrinkage) * s + shrinkage * level * torch.eye(4))
    w = as_matrix(scatter.whitening(shrinkage))
    torch.testing.assert_close(w @ w.T, expected)
    values, vectors = scatter.decomposed()
    shrunk = (1 - shrinkage) * values + shrinkage * level
    vectors = torch.eye(4, dtype=torch.float64) if vectors is None else vectors
    torch.testing.assert_close(vectors / shrunk @ vectors.T, expected)


@pytest.mark.parametrize("whitening", [torch.rand(4), torch.rand(4, 3)])
def test_rows_are_mapped_by_a_matrix_or_by_the_diagonal_of_one(whitening: Tensor) -> None:
    rows = torch.rand(5, 4)
    torch.testing.assert_close(mapped(rows, whitening), rows @ as_matrix(whitening))


def test_whitened_samples_have_the_identity_as_scatter() -> None:
    features, labels = samples()
    white = features @ measured(features, labels).whitening(1e-12)
    torch.testing.assert_close(measured(white, labels).matrix, torch.eye(4, dtype=torch.float64))


def test_more_dimensions_than_samples_can_be_whitened() -> None:
    features, labels = samples(6, 40)
    assert measured(features, labels).whitening(0.1).isfinite().all()


def test_with_one_sample_a_class_nothing_is_whitened() -> None:
    features, _ = samples(3)
    scatter = measured(features, torch.arange(3))
    torch.testing.assert_close(scatter.whitening(0.5), torch.eye(4, dtype=torch.float64))
