from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from tests.conftest import SHORT_FIT
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.data.benchmark import VectorBenchmark
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.errors import ConfigError
from zsl_lab.methods.eszsl import ESZSL
from zsl_lab.methods.eszsl.config import ESZSLConfig
from zsl_lab.methods.eszsl.solver import RidgeSolver
from zsl_lab.nn import moments
from zsl_lab.run.config import parse
from zsl_lab.run.experiment import run

Configure = Callable[..., DictConfig]

#: samples, dimension of features, of semantics, classes: either side wide and narrow
SHAPES = [(40, 7, 5, 4), (12, 20, 5, 4), (40, 7, 3, 6), (9, 15, 11, 4)]
CONSTANTS = list(itertools.product([1e3, 1.0, 1e-3], repeat=2))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(
    samples: int, dim: int, semantic_dim: int, classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, the class of each sample, semantics."""
    targets = torch.arange(samples) * 5 % classes
    return drawn(samples, dim) + 0.5, targets, drawn(classes, semantic_dim, seed=1)


def paper_notation(
    features: Tensor, targets: Tensor, semantics: Tensor, negative: float = -1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """X [D, N], Y [N, C] with 1 and -1 (or another number), S [Q, C]."""
    y = torch.tensor(
        [
            [1.0 if target == c else negative for c in range(len(semantics))]
            for target in targets.tolist()
        ]
    )
    return features.double().T, y.double(), semantics.double().T


def written_out(
    features: Tensor,
    targets: Tensor,
    semantics: Tensor,
    gamma: float,
    lambda_: float,
    negative: float = -1.0,
) -> Tensor:
    x, y, s = paper_notation(features, targets, semantics, negative)
    left = torch.linalg.inv(x @ x.T + gamma * torch.eye(len(x)))
    right = torch.linalg.inv(s @ s.T + lambda_ * torch.eye(len(s)))
    solution: Tensor = left @ x @ y @ s.T @ right
    return solution


def data_term(v: Tensor, x: Tensor, y: Tensor, s: Tensor) -> Tensor:
    error: Tensor = (x.T @ v @ s - y).square().sum()
    return error


def objective(v: Tensor, x: Tensor, y: Tensor, s: Tensor, gamma: float, lambda_: float) -> Tensor:
    ridges = (
        gamma * (v @ s).square().sum()
        + lambda_ * (x.T @ v).square().sum()
        + gamma * lambda_ * v.square().sum()
    )
    return data_term(v, x, y, s) + ridges


# ---------------------------------------------------------------------------- the solver


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("gamma", "lambda_"), CONSTANTS)
def test_the_solution_is_the_written_out_inverse(
    shape: tuple[int, int, int, int], gamma: float, lambda_: float
) -> None:
    given = problem(*shape)
    torch.testing.assert_close(
        RidgeSolver(*given).solve(gamma, lambda_).weights,
        written_out(*given, gamma, lambda_),
        rtol=1e-7,
        atol=1e-9,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_y_may_hold_0_where_a_sample_is_not_of_the_class(shape: tuple[int, int, int, int]) -> None:
    given = problem(*shape)
    x, y, s = paper_notation(*given, negative=0.0)
    found = RidgeSolver(*given, negative=0.0).solve(0.1, 0.2)
    torch.testing.assert_close(found.weights, written_out(*given, 0.1, 0.2, negative=0.0))
    assert found.objective.item() == pytest.approx(
        objective(found.weights, x, y, s, 0.1, 0.2).item() / shape[0]
    )
    assert found.error.item() == pytest.approx(data_term(found.weights, x, y, s).item() / shape[0])


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("gamma", "lambda_"), CONSTANTS)
def test_the_gradient_of_the_objective_is_zero_at_the_solution(
    shape: tuple[int, int, int, int], gamma: float, lambda_: float
) -> None:
    given = problem(*shape)
    x, y, s = paper_notation(*given)
    v = RidgeSolver(*given).solve(gamma, lambda_).weights.requires_grad_()
    (gradient,) = torch.autograd.grad(objective(v, x, y, s, gamma, lambda_), v)
    # beside the gradient at V = 0
    assert gradient.norm().item() < 1e-8 * (2 * x @ y @ s.T).norm().item()


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("gamma", "lambda_"), CONSTANTS)
def test_objective_and_error_are_those_of_the_solution_averaged_over_samples(
    shape: tuple[int, int, int, int], gamma: float, lambda_: float
) -> None:
    given = problem(*shape)
    x, y, s = paper_notation(*given)
    found = RidgeSolver(*given).solve(gamma, lambda_)
    assert found.objective.item() == pytest.approx(
        objective(found.weights, x, y, s, gamma, lambda_).item() / shape[0], rel=1e-8, abs=1e-10
    )
    assert found.error.item() == pytest.approx(
        data_term(found.weights, x, y, s).item() / shape[0], rel=1e-8, abs=1e-10
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_taken_in_parts_give_the_same_solution(
    shape: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = problem(*shape)
    whole = RidgeSolver(*given).solve(0.1, 0.1).weights
    monkeypatch.setattr(moments, "BLOCK", 50)
    torch.testing.assert_close(RidgeSolver(*given).solve(0.1, 0.1).weights, whole)


def test_a_small_ridge_is_not_lost_beside_large_features() -> None:
    features, targets, semantics = problem(60, 8, 5, 4)
    # eigenvalues of X X^T from about 1e9 down to 0: in single precision a gamma of 1e-3 would
    # vanish beside the rounding
    features = torch.cat([features * 4e3, features[:, :2] * 4e3], dim=1)
    found = RidgeSolver(features.float(), targets, semantics.float()).solve(1e-3, 1.0).weights
    x, y, s = paper_notation(features.float(), targets, semantics.float())
    fitted = (
        torch.linalg.lstsq(x.T, y, driver="gelsd").solution
        @ s.T
        @ torch.linalg.inv(s @ s.T + torch.eye(len(s)))
    )
    torch.testing.assert_close(x.T @ found, x.T @ fitted, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------------- the method


def config_of(gammas: list[float], lambdas: list[float]) -> ESZSLConfig:
    return ESZSLConfig(name="eszsl", gammas=gammas, lambdas=lambdas, negative=-1.0)


def small_method() -> tuple[ESZSL, Batch]:
    """Six classes of which 1 and 4 are unseen, samples of the others."""
    seen = np.array([True, False, True, True, False, True])
    semantics = drawn(6, 5, seed=1).float()
    labels = torch.from_numpy(np.flatnonzero(seen))[torch.arange(40) * 3 % 4]
    method = ESZSL(
        config_of([0.1, 10.0], [1.0, 0.01, 100.0]),
        7,
        ClassSpace(np.arange(6), semantics.numpy(), seen, tuple("abcdef")),
    )
    return method, Batch(drawn(40, 7).float(), labels, torch.arange(40))


def test_candidates_are_all_pairs_and_none_precedes_one_that_is_stronger_in_both() -> None:
    pairs = config_of([0.1, 10.0, 1.0], [1.0, 100.0]).candidates
    assert sorted(pairs) == sorted(itertools.product([0.1, 1.0, 10.0], [1.0, 100.0]))
    assert pairs[0] == (10.0, 100.0)
    for earlier, later in itertools.combinations(pairs, 2):
        assert not (later[0] >= earlier[0] and later[1] >= earlier[1])


def test_the_order_in_which_constants_are_given_does_not_matter() -> None:
    assert (
        config_of([1.0, 10.0], [0.1, 2.0]).candidates
        == config_of([10.0, 1.0], [2.0, 0.1]).candidates
    )


def test_every_step_is_a_check_over_all_samples() -> None:
    method, _ = small_method()
    assert method.total_steps == 6
    assert method.milestones == (1, 2, 3, 4, 5, 6)
    assert [method.batch_size_at(step) for step in range(6)] == [None] * 6


def test_each_step_leaves_the_solution_of_its_candidate_on_the_seen_classes() -> None:
    method, batch = small_method()
    seen = [0, 2, 3, 5]
    targets = torch.tensor([seen.index(label) for label in batch.labels.tolist()])
    for gamma, lambda_ in method.config.candidates:
        losses = method.train_on(batch)
        method.step += 1
        expected = written_out(batch.inputs, targets, method.semantics[seen], gamma, lambda_)
        torch.testing.assert_close(method.weights.data, expected.float(), rtol=1e-4, atol=1e-6)
        assert (losses["gamma"].item(), losses["lambda"].item()) == pytest.approx((gamma, lambda_))
        assert 0 < losses["error"].item() < losses["total"].item() <= 4


def test_semantics_of_unseen_classes_do_not_enter_the_solution() -> None:
    (first, batch), (second, _) = small_method(), small_method()
    second.semantics[[1, 4]] = 7.0
    first.train_on(batch)
    second.train_on(batch)
    assert torch.equal(first.weights, second.weights)


def test_scores_are_the_bilinear_form_with_the_semantics_of_every_class() -> None:
    method, batch = small_method()
    method.train_on(batch)
    found = method.class_scores(batch.inputs[:3])
    v, s = method.weights.double(), method.semantics.double()
    expected = [[float(x @ v @ s[c]) for c in range(6)] for x in batch.inputs[:3].double()]
    torch.testing.assert_close(
        found.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-6
    )


def test_scores_are_the_same_where_there_are_more_classes_than_semantic_dimensions() -> None:
    method, batch = small_method()
    method.train_on(batch)
    few = method.class_scores(batch.inputs)[:, :3]
    method.set_classes(
        ClassSpace(np.arange(3), method.semantics[:3].numpy(), np.ones(3, dtype=bool), tuple("abc"))
    )
    torch.testing.assert_close(method.class_scores(batch.inputs), few)


def test_a_sample_is_scored_alike_alone_and_in_a_batch() -> None:
    method, batch = small_method()
    method.train_on(batch)
    alone = torch.cat([method.class_scores(row[None]) for row in batch.inputs])
    torch.testing.assert_close(method.class_scores(batch.inputs), alone, rtol=1e-5, atol=1e-6)


def test_among_classes_of_equal_norm_the_nearest_in_the_latent_space_is_the_best_scored() -> None:
    method, batch = small_method()
    method.semantics.copy_(torch.nn.functional.normalize(method.semantics, dim=1))
    method.train_on(batch)
    samples, classes = method.latent_space(batch.inputs)
    assert torch.equal(
        torch.cdist(samples, classes).argmin(1), method.class_scores(batch.inputs).argmax(1)
    )


def test_all_that_training_determines_counts_as_a_parameter_and_none_of_it_is_descended_on() -> (
    None
):
    method, _ = small_method()
    assert [tuple(parameter.shape) for parameter in method.parameters()] == [(7, 5)]
    assert not any(parameter.requires_grad for parameter in method.parameters())
    assert method.configure_optimizers() == []


@pytest.mark.slow
@pytest.mark.parametrize("key", ["gammas", "lambdas"])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[]", "at least 1"),
        ("[1,0]", "greater than 0"),
        ("[-1]", "greater than 0"),
        ("[inf]", "finite"),
    ],
)
def test_constants_that_make_no_ridge_are_refused_by_name(
    configure: Configure, key: str, value: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=rf"method\.{key}.*{problem}"):
        parse(configure("method=eszsl", f"method.{key}={value}"))


# ---------------------------------------------------------------------------- the run


def stored(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
def test_the_reported_weights_are_the_solution_of_the_selected_pair_on_all_training_samples(
    configure: Configure, tmp_path: Path
) -> None:
    cfg = configure("method=eszsl", *SHORT_FIT["eszsl"])
    run(cfg)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    config = parse(cfg)
    assert isinstance(config.method, ESZSLConfig)
    candidates = config.method.candidates
    for phase in ("select", "refit"):
        named = [
            (float(row["loss/gamma"]), float(row["loss/lambda"]))
            for row in rows
            if row["phase"] == phase
        ]
        assert named == [pytest.approx(pair) for pair in candidates]
    checks = [
        (float(row[f"check/{config.selection.metric}"]), float(row["check/ausuc"]))
        for row in rows
        if row["phase"] == "select"
    ]
    gamma, lambda_ = candidates[checks.index(max(checks))]

    benchmark: VectorBenchmark = config.dataset.load(None)  # type: ignore[arg-type]
    data = config.dataset.data_module(benchmark, final_split(benchmark))
    samples, seen = data.samples(data.split.train), torch.from_numpy(data.classes.seen_mask)
    targets = torch.searchsorted(
        torch.from_numpy(np.flatnonzero(data.classes.seen_mask)), samples.labels
    )
    expected = written_out(
        samples.inputs, targets, torch.from_numpy(data.classes.semantics)[seen], gamma, lambda_
    )
    torch.testing.assert_close(
        stored(tmp_path / "run" / "checkpoints" / "best.ckpt")["weights"],
        expected.float(),
        rtol=1e-3,
        atol=1e-5,
    )


@pytest.mark.slow
def test_every_seed_gives_the_same_weights(configure: Configure, tmp_path: Path) -> None:
    for seed in (0, 1):
        run(configure("method=eszsl", *SHORT_FIT["eszsl"], f"seed={seed}", run_dir=str(seed)))
    first, second = (
        stored(tmp_path / str(seed) / "checkpoints" / "best.ckpt")["weights"] for seed in (0, 1)
    )
    assert torch.equal(first, second)
