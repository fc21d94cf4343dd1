from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zsl_lab.methods.exem.regression import ClassRegression, mean_squared_distance, rbf

#: classes, dimension of semantics: either narrower than the other
SHAPES = [(9, 4), (5, 16)]
RIDGES = [1e-3, 0.1, 10.0]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.T


def by_least_squares(a: Tensor, targets: Tensor, ridge: float, new: Tensor) -> Tensor:
    """Ridge regression as least squares on augmented rows; the column of ones has no ridge."""
    n, q = a.shape
    centred = a - a.mean(0)
    mean_eigenvalue = torch.linalg.eigvalsh(centred @ centred.T).mean()
    rows = torch.cat([a, torch.ones(n, 1)], dim=1)
    penalty = torch.cat([(ridge * mean_eigenvalue).sqrt() * torch.eye(q), torch.zeros(q, 1)], dim=1)
    solution = torch.linalg.lstsq(
        torch.cat([rows, penalty]),
        torch.cat([targets, torch.zeros(q, targets.shape[1])]),
        driver="gelsd",
    ).solution
    found: Tensor = torch.cat([new, torch.ones(len(new), 1)], dim=1) @ solution
    return found


@pytest.fixture(autouse=True)
def _double_precision() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_decomposition_gives_the_least_squares_solution_of_every_ridge(
    shape: tuple[int, int],
) -> None:
    a, targets, new = drawn(*shape) + 0.3, drawn(shape[0], 3, seed=1), drawn(6, shape[1], seed=2)
    regression = ClassRegression(a)
    for ridge in RIDGES:
        expected = by_least_squares(a, targets, ridge, new)
        torch.testing.assert_close(regression.smoothing(new, ridge) @ targets, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ridge", RIDGES)
def test_with_a_linear_kernel_the_kernel_regression_is_the_linear_one(
    shape: tuple[int, int], ridge: float
) -> None:
    a, targets, new = drawn(*shape) + 0.3, drawn(shape[0], 3, seed=1), drawn(6, shape[1], seed=2)
    kernel, primal = ClassRegression(a, linear), ClassRegression(a)
    torch.testing.assert_close(kernel.smoothing(new, ridge), primal.smoothing(new, ridge))
    by_kernel = (linear(new, a) - kernel.centre) @ kernel.weights(targets, ridge)
    by_primal = (new - primal.centre) @ primal.weights(targets, ridge)
    torch.testing.assert_close(by_kernel, by_primal)


@pytest.mark.parametrize("ridge", RIDGES)
def test_the_rbf_regression_is_the_written_out_inverse_of_the_centred_kernel(ridge: float) -> None:
    a, targets, new = drawn(7, 3), drawn(7, 2, seed=1), drawn(4, 3, seed=2)
    n = len(a)

    def k(x: Tensor, y: Tensor) -> Tensor:
        return torch.tensor([[float((-((p - q) ** 2).sum() / 5.0).exp()) for q in y] for p in x])

    h = torch.eye(n) - 1 / n
    centred = h @ k(a, a) @ h
    inverse = torch.linalg.inv(centred + ridge * centred.trace() / n * torch.eye(n))
    similarities = (k(new, a) - k(a, a).mean(0)) @ h
    expected = similarities @ inverse @ h @ targets + targets.mean(0)
    regression = ClassRegression(a, rbf(5.0))
    torch.testing.assert_close(regression.smoothing(new, ridge) @ targets, expected)
    by_weights = (k(new, a) - regression.centre) @ regression.weights(targets, ridge)
    torch.testing.assert_close(by_weights + targets.mean(0), expected)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("kernel", [None, linear])
def test_the_unit_of_the_semantics_does_not_matter(scale: float, kernel: object) -> None:
    a, new = drawn(6, 4), drawn(3, 4, seed=2)
    torch.testing.assert_close(
        ClassRegression(scale * a, kernel).smoothing(scale * new, 0.1),  # type: ignore[arg-type]
        ClassRegression(a, kernel).smoothing(new, 0.1),  # type: ignore[arg-type]
    )


def test_weights_of_the_targets_sum_to_one() -> None:
    weights = ClassRegression(drawn(6, 4)).smoothing(drawn(3, 4, seed=2), 0.1)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))


@pytest.mark.parametrize("kernel", [None, rbf(1.0)])
def test_classes_of_equal_semantics_are_all_predicted_by_the_mean(kernel: object) -> None:
    regression = ClassRegression(torch.ones(4, 3), kernel)  # type: ignore[arg-type]
    torch.testing.assert_close(
        regression.smoothing(torch.ones(2, 3), 0.1), torch.full((2, 4), 0.25)
    )


def test_the_mean_squared_distance_is_that_of_all_pairs() -> None:
    a = drawn(5, 3)
    pairs = [float((a[i] - a[j]).square().sum()) for i in range(5) for j in range(i)]
    assert mean_squared_distance(a) == pytest.approx(sum(pairs) / len(pairs))
    assert mean_squared_distance(torch.ones(3, 2)) == 1


@pytest.mark.parametrize("ridge", RIDGES)
def test_with_every_class_as_anchor_the_regression_is_that_of_the_kernel(ridge: float) -> None:
    a, targets, new = drawn(9, 4), drawn(9, 3, seed=1), drawn(6, 4, seed=2)
    kernel = rbf(mean_squared_distance(a))
    exact, approximate = ClassRegression(a, kernel), ClassRegression(a, kernel, a)
    torch.testing.assert_close(approximate.smoothing(new, ridge), exact.smoothing(new, ridge))
    by_weights = (kernel(new, a) - approximate.centre) @ approximate.weights(targets, ridge)
    torch.testing.assert_close(by_weights + targets.mean(0), exact.smoothing(new, ridge) @ targets)
