from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import solve_sylvester
from torch import Tensor

from tests.conftest import composed
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.sae import SAE
from zsl_lab.methods.sae.config import SAEConfig
from zsl_lab.methods.sae.solver import SylvesterSolver
from zsl_lab.nn import moments
from zsl_lab.run.config import parse


@cache
def configured(*overrides: str) -> Any:
    """The keys of the method, without anybody's settings."""
    return parse(composed(Path("run"), "settings=none", *overrides)).method


Problem = tuple[Tensor, Tensor, Tensor]

#: samples, dimension of features, of semantics, classes; no side has a null space
SHAPES = [(40, 7, 3, 5), (60, 4, 5, 8)]
SEEN = np.array([True, True, False, True])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(samples: int, dim: int, semantic_dim: int, classes: int) -> Problem:
    """Features, the class of each sample, semantics."""
    targets = torch.arange(samples) * 3 % classes
    return drawn(samples, dim) + 0.5, targets, drawn(classes, semantic_dim, seed=1)


def objective(w: Tensor, given: Problem, lambda_: float) -> tuple[Tensor, Tensor]:
    """The objective and its first term, averaged over samples."""
    x, s = given[0].T, given[2][given[1]].T
    reconstruction = (x - w.T @ s).square().sum()
    total = reconstruction + lambda_ * (w @ x - s).square().sum()
    return total / len(given[0]), reconstruction / len(given[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lambda_", [1e-3, 1.0, 1e3])
def test_the_solution_is_that_of_the_sylvester_equation(
    shape: tuple[int, int, int, int], lambda_: float
) -> None:
    given = problem(*shape)
    x, s = given[0].T.numpy(), given[2][given[1]].T.numpy()
    expected = solve_sylvester(s @ s.T, lambda_ * x @ x.T, (1 + lambda_) * s @ x.T)
    found = SylvesterSolver(*given).solve(lambda_)
    torch.testing.assert_close(found.weights, torch.from_numpy(expected), rtol=1e-8, atol=1e-9)


# the last one has more dimensions than samples and more semantics than classes
@pytest.mark.parametrize("shape", [*SHAPES, (9, 15, 11, 4)])
@pytest.mark.parametrize("lambda_", [1e-2, 1.0, 1e3])
def test_the_solution_minimises_the_objective_that_is_logged(
    shape: tuple[int, int, int, int], lambda_: float
) -> None:
    given = problem(*shape)
    found = SylvesterSolver(*given).solve(lambda_)
    w = found.weights.clone().requires_grad_()
    total, reconstruction = objective(w, given, lambda_)
    (gradient,) = torch.autograd.grad(total, w)
    assert gradient.norm() < 1e-9 * (1 + lambda_) * given[0].square().sum()
    assert found.weights.isfinite().all()
    assert found.objective.item() == pytest.approx(total.item(), rel=1e-8, abs=1e-9)
    assert found.reconstruction.item() == pytest.approx(reconstruction.item(), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("shape", [(9, 15, 11, 4), (9, 15, 3, 4), (40, 7, 11, 4)])
def test_a_wide_side_is_solved_as_the_whole_decomposition_says(
    shape: tuple[int, int, int, int],
) -> None:
    given = problem(*shape)
    x, s = given[0].T, given[2][given[1]].T
    (a, u), (b, v) = torch.linalg.eigh(s @ s.T), torch.linalg.eigh(x @ x.T)
    sums = a.clamp(min=0)[:, None] + 0.3 * b.clamp(min=0)
    m = torch.where(sums > 1e-9, 1.3 * (u.T @ s @ x.T @ v) / sums, 0.0)
    found = SylvesterSolver(*given).solve(0.3).weights
    torch.testing.assert_close(found, u @ m @ v.T, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [SHAPES[0], (9, 15, 11, 4)])
def test_samples_taken_in_parts_give_the_same_solution(
    shape: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = problem(*shape)
    whole = SylvesterSolver(*given).solve(0.1).weights
    monkeypatch.setattr(moments, "BLOCK", 50)
    torch.testing.assert_close(SylvesterSolver(*given).solve(0.1).weights, whole)


def small(*overrides: str) -> SAE:
    """SAE on 4 classes (3 seen) with 3 attributes and features of 5 dimensions."""
    config = configured("method=sae", *overrides)
    assert isinstance(config, SAEConfig)
    semantics = drawn(4, 3, seed=2).float().numpy()
    return SAE(config, 5, ClassSpace(np.arange(4), semantics, SEEN, ("a", "b", "c", "d")))


@pytest.mark.parametrize("reading", ["encoder", "decoder"])
def test_a_score_is_a_cosine_in_the_space_of_the_reading(reading: str) -> None:
    method = small(f"method.reading={reading}")
    labels = torch.tensor([0, 1, 3]).repeat(6)
    x = drawn(18, 5).float()
    method.train_on(Batch(x, labels, labels))
    w, found = method.weights, method.class_scores(x)
    for b in range(18):
        for c in range(4):
            a = method.semantics[c]
            pair = (w @ x[b], a) if reading == "encoder" else (x[b], w.T @ a)
            expected = pair[0] @ pair[1] / (pair[0].norm() * pair[1].norm())
            assert found[b, c].item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_step_is_a_lambda_the_smallest_first() -> None:
    method = small("method.lambdas=[10,0.1,1]")
    labels = torch.tensor([0, 1, 3]).repeat(6)
    batch = Batch(drawn(18, 5).float(), labels, labels)
    assert (method.total_steps, method.milestones) == (3, (1, 2, 3))
    for lambda_ in (0.1, 1.0, 10.0):
        assert method.train_on(batch)["lambda"].item() == pytest.approx(lambda_)
        solution = SylvesterSolver(
            batch.inputs, labels.clamp(max=2), method.semantics[method.seen_mask]
        ).solve(lambda_)
        torch.testing.assert_close(method.weights.data, solution.weights.float())
        method.step += 1


@pytest.mark.parametrize("changed", ["lambdas=[]", "lambdas=[0]", "reading=both"])
def test_a_value_that_means_nothing_is_refused(changed: str) -> None:
    with pytest.raises(ConfigError, match=rf"method\.{changed.split('=')[0]}"):
        configured("method=sae", f"method.{changed}")
