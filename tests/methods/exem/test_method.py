from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from tests.conftest import SHORT_FIT, power_cut
from tests.helpers.tensors import AtMost
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.data.scaling import Scaler
from zsl_lab.errors import ConfigError
from zsl_lab.methods.exem import EXEM
from zsl_lab.methods.exem.config import EXEMConfig
from zsl_lab.nn.whitening import within_class_whitening
from zsl_lab.run.config import parse
from zsl_lab.run.experiment import run

Configure = Callable[..., DictConfig]

SEEN = np.array([True, False, True, True, True, False, True])
PLACES = [0, 2, 3, 4, 6]


def config_of(**changed: object) -> EXEMConfig:
    given: dict[str, object] = {
        "name": "exem",
        "normalize": "minmax_sqrt",
        "normalize_semantics": "centered_l2",
        "pca": None,
        "whitening": "full",
        "distance": "cosine",
        "kernel": "linear",
        "shrinkages": [0.3],
        "ridges": [0.2],
        "mixtures": [0.7],
        "widths": [1.5],
        "folds": 5,
        "partitions": 1,
        "calibrate": False,
    }
    return EXEMConfig(**{**given, **changed})  # type: ignore[arg-type]


def space(
    semantics: Tensor, seen: npt.NDArray[np.bool_] = SEEN, names: str = "abcdefg"
) -> ClassSpace:
    return ClassSpace(np.arange(len(seen)), semantics.numpy(), seen, tuple(names))


def fitted(semantic_dim: int = 4, **changed: object) -> tuple[EXEM, Batch]:
    """Seven classes of which 1 and 5 are unseen, twelve samples of each other."""
    generator = torch.Generator().manual_seed(0)
    semantics = torch.randn(7, semantic_dim, generator=generator)
    labels = torch.tensor(PLACES * 12)
    centres = semantics @ torch.randn(semantic_dim, 6, generator=generator)
    features = centres[labels] + torch.randn(len(labels), 6, generator=generator)
    method = EXEM(config_of(**changed), 6, space(semantics))
    batch = Batch(features, labels, torch.arange(len(labels)))
    method.losses = dict(method.train_on(batch))  # type: ignore[assignment]
    return method, batch


def written_out(method: EXEM, batch: Batch, mixture: float, rows: Tensor) -> Tensor:
    """Whitened cosines by loops: ridge by least squares on augmented rows, then the mixture."""
    x = Scaler.fit("minmax_sqrt", batch.inputs.numpy()).apply(batch.inputs)
    a = Scaler.fit("centered_l2", method.semantics[PLACES].numpy()).apply(method.semantics).double()
    means = torch.stack([x[batch.labels == c].double().mean(0) for c in PLACES])
    w = within_class_whitening(x, batch.labels, 0.3).double()
    trained = a[PLACES]
    centred = trained - trained.mean(0)
    ridge = 0.2 * centred.square().sum() / len(PLACES)
    penalty = ridge.sqrt() * torch.eye(a.shape[1], dtype=torch.float64)
    weights = torch.linalg.lstsq(
        torch.cat([centred, penalty]),
        torch.cat([means - means.mean(0), torch.zeros(len(penalty), 6, dtype=torch.float64)]),
        driver="gelsd",
    ).solution
    exemplars = []
    for c in range(7):
        predicted = (a[c] - trained.mean(0)) @ weights + means.mean(0)
        if c in PLACES:
            predicted = mixture * means[PLACES.index(c)] + (1 - mixture) * predicted
        exemplars.append(predicted)
    scaled = Scaler("minmax_sqrt", method.shift, method.scale).apply(rows).double()
    return torch.tensor(
        [
            [
                float(
                    torch.cosine_similarity(
                        w @ (row - means.mean(0)), w @ (exemplar - means.mean(0)), dim=0
                    )
                )
                for exemplar in exemplars
            ]
            for row in scaled
        ]
    )


@pytest.mark.parametrize("semantic_dim", [3, 11])
@pytest.mark.parametrize("mixture", [0.0, 0.7, 1.0])
def test_scores_are_whitened_cosines_with_mixed_exemplars(
    semantic_dim: int, mixture: float
) -> None:
    method, batch = fitted(semantic_dim, mixtures=[mixture])
    rows = torch.randn(9, 6, generator=torch.Generator().manual_seed(5))
    expected = written_out(method, batch, mixture, rows)
    torch.testing.assert_close(method.class_scores(rows), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_sample_is_scored_alike_alone_and_in_a_batch(kernel: str, distance: str) -> None:
    method, batch = fitted(kernel=kernel, distance=distance)
    alone = torch.cat([method.class_scores(row[None]) for row in batch.inputs])
    torch.testing.assert_close(method.class_scores(batch.inputs), alone, rtol=1e-4, atol=1e-5)


def test_the_offset_is_added_to_classes_that_were_not_trained_on() -> None:
    (plain, batch), (calibrated, _) = (
        fitted(calibrate=calibrate, shrinkages=[0.3, 0.9], ridges=[0.2, 1.0])
        for calibrate in (False, True)
    )
    offset = float(calibrated.constants[4])
    assert offset != 0
    difference = calibrated.class_scores(batch.inputs) - plain.class_scores(batch.inputs)
    expected = torch.where(torch.from_numpy(SEEN), 0.0, offset)
    torch.testing.assert_close(difference, expected.expand_as(difference), rtol=1e-3, atol=1e-5)


def test_semantics_of_unseen_classes_do_not_enter_the_fit() -> None:
    (first, batch), (second, _) = fitted(), fitted()
    second.semantics[[1, 5]] = 7.0
    second.train_on(batch)
    fits = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in fits)


def test_the_unit_of_features_and_semantics_does_not_matter() -> None:
    method, batch = fitted(shrinkages=[0.1, 0.5, 0.9], ridges=[0.1, 1.0])
    other = EXEM(method.config, 6, space(method.semantics * 50))
    other.train_on(Batch(batch.inputs * 100 + 3, batch.labels, batch.rows))
    torch.testing.assert_close(
        other.class_scores(batch.inputs * 100 + 3),
        method.class_scores(batch.inputs),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_weights_put_into_an_empty_method_give_the_same_scores(kernel: str) -> None:
    method, batch = fitted(kernel=kernel)
    empty = EXEM.empty_for_checkpoint(method.config, 6, space(method.semantics))
    empty.load_state_dict(method.state_dict())
    assert torch.equal(empty.class_scores(batch.inputs), method.class_scores(batch.inputs))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_other_classes_are_scored_by_their_semantics_and_known_ones_as_before(kernel: str) -> None:
    method, batch = fitted(kernel=kernel)
    before = method.class_scores(batch.inputs)
    new = torch.full((1, 4), 0.3)
    semantics = torch.cat([method.semantics[[6, 1]], new, method.semantics[[2]]])
    seen = np.array([True, False, False, True])
    method.set_classes(space(semantics, seen, "gbnc"))
    after = method.class_scores(batch.inputs)
    torch.testing.assert_close(after[:, [0, 1, 3]], before[:, [6, 1, 2]])
    assert after[:, 2].isfinite().all()
    # a stranger with the semantics of a class that was trained on has no mean of its own
    method.set_classes(space(method.semantics[[0]], np.array([False]), "n"))
    assert not torch.allclose(method.class_scores(batch.inputs)[:, 0], before[:, 6])


def test_with_all_principal_components_only_the_axes_change() -> None:
    method, batch = fitted()
    rotated, _ = fitted(pca=6)
    torch.testing.assert_close(
        rotated.class_scores(batch.inputs), method.class_scores(batch.inputs), rtol=1e-3, atol=1e-4
    )
    fewer, _ = fitted(pca=2)
    assert fewer.projection.shape == (6, 2)


def few_samples(samples: int | None, **changed: object) -> tuple[EXEM, Tensor]:
    """Fitted to 20 samples of 30 dimensions; also new samples."""
    generator = torch.Generator().manual_seed(0)
    semantics = torch.randn(7, 4, generator=generator)
    labels = torch.tensor(PLACES * 4)
    features = semantics[labels] @ torch.randn(4, 30, generator=generator)
    features += torch.randn(features.shape, generator=generator)
    method = EXEM(config_of(**changed), 30, space(semantics), samples)
    method.train_on(Batch(features, labels, torch.arange(len(labels))))
    return method, torch.randn(9, 30, generator=generator)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("whitening", ["full", "none"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_of_few_samples_the_space_that_they_span_gives_the_scores_of_all_dimensions(
    distance: str, whitening: str, kernel: str
) -> None:
    changed: dict[str, object] = {"distance": distance, "whitening": whitening, "kernel": kernel}
    changed |= {"shrinkages": [0.1, 0.5], "normalize": "standard", "calibrate": True}
    whole, new = few_samples(None, **changed)
    spanned, _ = few_samples(20, **changed)
    all_dimensions = (30, 30) if whitening == "full" else (30,)
    assert (whole.projection.shape, spanned.projection.shape) == (all_dimensions, (30, 20))
    torch.testing.assert_close(spanned.constants, whole.constants, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        spanned.class_scores(new), whole.class_scores(new), rtol=1e-3, atol=1e-3
    )


def test_weights_fitted_to_few_samples_are_put_into_an_empty_method() -> None:
    spanned, new = few_samples(20)
    empty = EXEM(spanned.config, 30, space(spanned.semantics))
    empty.load_state_dict(spanned.state_dict())
    assert torch.equal(empty.class_scores(new), spanned.class_scores(new))


def test_principal_components_that_few_samples_do_not_have_count_nothing() -> None:
    method, new = few_samples(20, pca=25, whitening="diagonal")
    assert method.projection.shape == (30, 25)
    assert not method.projection[:, :5].any()
    assert method.class_scores(new).isfinite().all()


@pytest.mark.parametrize(("power", "kind"), [(1, "none"), (4, "minmax_sqrt")])
def test_auto_takes_square_roots_of_features_with_long_tails(power: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    semantics = torch.randn(7, 4, generator=generator)
    labels = torch.tensor(PLACES * 12)
    centres = semantics @ torch.randn(4, 6, generator=generator)
    features = (centres[labels] + torch.randn(60, 6, generator=generator) - centres.min()) ** power
    batch = Batch(features, labels, torch.arange(60))
    scores = []
    for normalize in ("auto", kind):
        method = EXEM(config_of(normalize=normalize), 6, space(semantics))
        method.train_on(batch)
        loaded = EXEM(config_of(normalize=normalize), 6, space(semantics))
        loaded.load_state_dict(method.state_dict())
        scores += [method.class_scores(features), loaded.class_scores(features)]
    for other in scores[1:]:
        assert torch.equal(scores[0], other)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("whitening", ["diagonal", "none"])
def test_diagonal_whitening_divides_each_dimension_by_its_deviation(
    distance: str, whitening: str
) -> None:
    method, batch = fitted(whitening=whitening, distance=distance, normalize="none")
    x, mixture = batch.inputs.double(), 0.7
    means = torch.stack([x[batch.labels == c].mean(0) for c in PLACES])
    variances = torch.zeros(6, dtype=torch.float64)
    for row, label in zip(x, batch.labels.tolist(), strict=True):
        variances += (row - means[PLACES.index(label)]).square() / len(x)
    if whitening == "none":
        variances = torch.ones(6, dtype=torch.float64)
    deviations = (0.7 * variances + 0.3 * variances.mean()).sqrt()
    origin = (means / deviations).mean(0)
    predicted = method.prototypes(method.semantics).double()
    for new in torch.randn(4, 6, generator=torch.Generator().manual_seed(5)):
        z = new / deviations - origin
        for c in range(7):
            exemplar = predicted[c]
            if c in PLACES:
                own = means[PLACES.index(c)] / deviations - origin
                exemplar = mixture * own + (1 - mixture) * predicted[c]
            if distance == "cosine":
                expected = z @ exemplar / (z.norm() * exemplar.norm())
            else:
                expected = -(z - exemplar).square().sum()
            found = method.class_scores(new[None])[0, c].double()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("whitening", ["diagonal", "none"])
def test_a_diagonal_projection_that_was_stored_as_a_matrix_can_be_loaded(whitening: str) -> None:
    method, batch = fitted(whitening=whitening)
    stored = {**method.state_dict(), "projection": method.projection.diag()}
    empty = EXEM.empty_for_checkpoint(method.config, 6, space(method.semantics))
    empty.load_state_dict(stored)
    assert torch.equal(empty.class_scores(batch.inputs), method.class_scores(batch.inputs))


def test_with_diagonal_whitening_no_tensor_has_dimensions_by_dimensions() -> None:
    dim, generator = 20_000, torch.Generator().manual_seed(0)
    labels = torch.tensor(PLACES * 6)
    features = torch.randn(len(labels), dim, generator=generator)
    semantics = torch.randn(7, 4, generator=generator)
    with AtMost(10**7):
        method = EXEM(config_of(whitening="diagonal", shrinkages=[0.1, 0.5]), dim, space(semantics))
        method.train_on(Batch(features, labels, torch.arange(len(labels))))
        assert method.class_scores(features).shape == (30, 7)


def test_the_principal_axes_of_few_samples_are_those_of_the_covariance() -> None:
    method, _ = few_samples(20, pca=5)
    features = torch.randn(20, 30, generator=torch.Generator().manual_seed(1))
    found = method._rotation(features)
    assert found is not None
    centred = features - features.mean(0)
    _, axes = torch.linalg.eigh(centred.T @ centred)
    torch.testing.assert_close(found @ found.T, axes[:, -5:] @ axes[:, -5:].T, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_constants_are_chosen_on_some_classes_where_there_are_many_and_all_are_fitted(
    kernel: str,
) -> None:
    with pytest.warns(UserWarning, match="chosen on 3 of the 5 training classes"):
        method, batch = fitted(most_classes=3, kernel=kernel)
    assert len(method.means) == 5
    assert len(method.anchors) == (3 if kernel == "rbf" else 5)
    means = torch.stack([method.whitened(batch.inputs[batch.labels == c]).mean(0) for c in PLACES])
    torch.testing.assert_close(means, method.means.data, rtol=1e-4, atol=1e-4)


def test_the_papers_reading_is_the_standardised_distance_in_the_space_of_a_pca() -> None:
    method, batch = fitted(
        pca=3,
        whitening="diagonal",
        distance="euclidean",
        kernel="rbf",
        shrinkages=[1e-6],
        mixtures=[0.0],
        normalize="none",
    )
    x = batch.inputs.double()
    _, axes = torch.linalg.eigh(torch.cov(x.T))
    z = x @ axes[:, -3:]
    variance = torch.stack(
        [(z[batch.labels == c] - z[batch.labels == c].mean(0)).square().mean(0) for c in PLACES]
    ).mean(0)
    means = torch.stack([z[batch.labels == c].mean(0) for c in PLACES])
    # exemplars of the method, back in units of the principal components, whose signs are free
    exemplars = method.exemplars().double() * variance.sqrt()
    signs = (method.projection.double() * variance.sqrt() * axes[:, -3:]).sum(0).sign()
    exemplars = exemplars * signs + means.mean(0)
    expected = -((z[:, None] - exemplars).square() / variance).sum(2)
    torch.testing.assert_close(
        method.class_scores(batch.inputs).double(), expected, rtol=1e-3, atol=1e-3
    )


def test_the_nearest_point_of_the_latent_space_is_the_best_scored_class() -> None:
    for distance in ("cosine", "euclidean"):
        method, batch = fitted(distance=distance)
        samples, classes = method.latent_space(batch.inputs)
        assert torch.equal(
            torch.cdist(samples, classes).argmin(1), method.class_scores(batch.inputs).argmax(1)
        )


def test_the_logs_name_the_constants_and_what_they_reached() -> None:
    method, _ = fitted(shrinkages=[0.1, 0.5], calibrate=True)
    losses: dict[str, Tensor] = method.losses  # type: ignore[assignment]
    assert losses["shrinkage"].item() in (0.1, 0.5)
    assert losses["total"].item() >= 0
    assert 0 < losses["left_out_ausuc"].item() <= 100
    chosen = [losses[name].item() for name in ("shrinkage", "width", "ridge", "mixture", "offset")]
    assert method.constants.tolist() == pytest.approx(chosen)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ("shrinkages=[0]", "greater than 0"),
        ("ridges=[]", "at least 1"),
        ("ridges=[inf]", "finite"),
        ("mixtures=[1.5]", "less than or equal to 1"),
        ("widths=[-1]", "greater than 0"),
        ("pca=0", "greater than or equal to 1"),
        ("folds=2", "greater than or equal to 3"),
        ("kernel=cubic", "linear"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(
    configure: Configure, changed: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=rf"method\.{changed.split('=')[0]}.*{problem}"):
        parse(configure("method=exem", f"method.{changed}"))


# ---------------------------------------------------------------------------------------- the run


@pytest.mark.slow
def test_a_run_is_one_step_a_phase_and_the_seed_changes_nothing(
    configure: Configure, tmp_path: Path
) -> None:
    results = [
        run(configure("method=exem", *SHORT_FIT["exem"], f"seed={seed}", run_dir=str(seed)))
        for seed in (0, 1)
    ]
    assert results[0].metrics == results[1].metrics
    assert results[0].training["steps"] == 2
    with (tmp_path / "0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for phase in ("select", "refit"):
        assert [row["step"] for row in rows if row["phase"] == phase] == ["1"]
    candidates = parse(configure("method=exem")).plain["method"]["ridges"]
    assert {round(float(row["loss/ridge"]), 4) for row in rows} <= set(candidates)


@pytest.mark.slow
def test_the_stored_weights_test_alike(configure: Configure, tmp_path: Path) -> None:
    trained = run(configure("method=exem", *SHORT_FIT["exem"], "dataset=synthetic"))
    ckpt = tmp_path / "run" / "checkpoints" / "best.ckpt"
    again = run(
        configure("method=exem", "dataset=synthetic", "task=test", f"ckpt={ckpt}", run_dir="again")
    )
    assert again.metrics == trained.metrics
    assert trained.metrics["harmonic_mean"] > 85


@pytest.mark.slow
def test_a_run_that_was_interrupted_in_the_refit_ends_alike(
    configure: Configure, tmp_path: Path
) -> None:
    whole = run(configure("method=exem", *SHORT_FIT["exem"], run_dir="whole"))
    with power_cut(EXEM, 0, "refit"):
        run(configure("method=exem", *SHORT_FIT["exem"]))
    ckpt = tmp_path / "run" / "checkpoints" / "last.ckpt"
    resumed = run(configure("method=exem", *SHORT_FIT["exem"], f"ckpt={ckpt}"))
    assert resumed.metrics == whole.metrics
