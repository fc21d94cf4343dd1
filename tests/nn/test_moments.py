from __future__ import annotations

import torch

from zsl_lab.nn.moments import ClassMoments
from zsl_lab.nn.whitening import inverse_root, shrunk


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(60, 4, generator=generator, dtype=torch.float64) + 3
    return points, torch.randint(3, (60,), generator=generator)


def test_sums_of_parts_give_class_means_and_covariance_within_classes() -> None:
    points, labels = drawn()
    found = ClassMoments(4, 4, "full")
    for part in (slice(0, 7), slice(7, 60)):
        found.add(points[part], labels[part])
    found.share()
    means = torch.stack([points[labels == c].mean(0) for c in range(3)])
    torch.testing.assert_close(found.means()[:3], means)
    assert found.has_points.tolist() == [True, True, True, False]
    assert found.means()[3].tolist() == [0, 0, 0, 0]
    scatter = torch.zeros(4, 4, dtype=torch.float64)
    for point, label in zip(points, labels, strict=True):
        scatter += torch.outer(point - means[label], point - means[label]) / len(points)
    torch.testing.assert_close(found.within(), scatter)
    variances = ClassMoments(4, 4, "diagonal")
    variances.add(points, labels)
    torch.testing.assert_close(variances.within(), scatter.diagonal())


def test_a_root_of_the_inverse_whitens_the_shrunk_covariance() -> None:
    points, _ = drawn()
    scatter = points.T.cov(correction=0)
    expected = 0.6 * scatter + 0.4 * scatter.diagonal().mean() * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(shrunk(scatter, 0.4), expected)
    torch.testing.assert_close(shrunk(scatter.diagonal(), 0.4), expected.diagonal())
    root = inverse_root(scatter, 0.4)
    torch.testing.assert_close(root @ root.T, expected.inverse())


def test_without_scatter_nothing_is_scaled() -> None:
    assert torch.equal(shrunk(torch.zeros(3), 0.5), torch.ones(3))
    assert torch.equal(inverse_root(torch.zeros(3, 3), 0.5), torch.eye(3))
