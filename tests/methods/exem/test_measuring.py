from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.data.batches.test_stored import modules
from tests.helpers.tensors import AtMost
from tests.methods.exem.test_method import config_of
from zsl_lab.methods.exem import EXEM
from zsl_lab.methods.exem import method as exem
from zsl_lab.methods.exem.config import Whitening
from zsl_lab.methods.exem.measuring import Groups, largest_axes, measure, median_skewness
from zsl_lab.methods.exem.whitening import Scatter, class_means

LABELS = torch.arange(60) % 4


def drawn() -> Tensor:
    return torch.randn(60, 5, generator=torch.Generator().manual_seed(0)).double() + LABELS[:, None]


def in_blocks(features: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, 60, 17):
        numbers = torch.arange(start, min(start + 17, 60))
        yield numbers, features[numbers]


@pytest.mark.parametrize("kind", ["full", "diagonal", "none"])
@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [1, 3]])
def test_two_passes_over_blocks_find_what_all_samples_at_once_give(
    kind: Whitening, chosen: list[int]
) -> None:
    features, classes = drawn(), torch.tensor(chosen)
    of_chosen = torch.isin(LABELS, classes)
    scored = of_chosen & (torch.arange(60) % 5 == 0)
    kept = of_chosen & ~scored
    found = measure(lambda: in_blocks(features), LABELS, 4, kind, Groups(kept, scored, classes))
    means = class_means(features, LABELS, 4)
    torch.testing.assert_close(found.means, means)
    expected = Scatter.measure(features, LABELS, means, kind)
    torch.testing.assert_close(found.scatter.matrix, expected.matrix)
    assert found.held is not None
    places = torch.searchsorted(classes, LABELS)
    of_kept = class_means(features[kept], places[kept], len(chosen))
    torch.testing.assert_close(found.held.means, of_kept)
    expected = Scatter.measure(features[kept], places[kept], of_kept, kind)
    torch.testing.assert_close(found.held.scatter.matrix, expected.matrix)
    assert torch.equal(found.held.features, features[scored])
    assert torch.equal(found.held.labels, places[scored])


@pytest.mark.parametrize("kind", ["diagonal", "none"])
def test_variances_of_blocks_take_no_table_of_dimensions_by_dimensions(kind: Whitening) -> None:
    features = torch.randn(60, 20_000, generator=torch.Generator().manual_seed(0))
    kept = torch.arange(60) % 5 > 0
    with AtMost(10**7):
        groups = Groups(kept, ~kept, torch.arange(4))
        found = measure(lambda: in_blocks(features), LABELS, 4, kind, groups)
    assert found.scatter.matrix.shape == (20_000,)


def test_skewness_is_that_of_scipy_whatever_the_shift_and_scale() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).gamma(1, 1, (60, 5)))
    expected = np.median(scipy.stats.skew(rows.numpy()))
    rows = torch.cat([rows, torch.full((60, 9), 0.1)], dim=1)  # constant columns do not count
    for given in (rows, 5 * rows - 7):
        np.testing.assert_allclose(median_skewness(given), expected, rtol=1e-6)
    assert median_skewness(rows[:, 5:]) == 0


def test_principal_axes_are_those_of_the_covariance() -> None:
    features = drawn()
    _, axes = torch.linalg.eigh(torch.cov(features.T))
    found = largest_axes(lambda: in_blocks(features), 2)
    torch.testing.assert_close(found.abs(), axes[:, -2:].abs())


@pytest.mark.filterwarnings("ignore:method=exem. the constants are chosen on 3")
@pytest.mark.parametrize(
    "changed",
    # among so few classes many offsets are equally good
    [
        {},
        {"most_classes": 3, "calibrate": False},
        {"pca": 3},
        {"whitening": "diagonal"},
        {"normalize": "standard"},
        {"normalize": "auto"},
    ],
)
def test_samples_on_disk_give_the_method_that_samples_in_memory_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object]
) -> None:
    monkeypatch.setattr(exem, "_BLOCK", 0)
    monkeypatch.setattr(exem, "_FEWEST_ROWS", 64)
    options = {"shrinkages": [0.1, 0.6], "mixtures": [0.5, 1.0], "calibrate": True, **changed}
    scores = []
    for data in modules(tmp_path):
        method = EXEM.build(config_of(**options), data)
        (batch,) = data.training_stream(method.batch_size_at, [1], 0, torch.device("cpu"))
        method.train_on(batch)
        scores.append(method.class_scores(data.samples(np.arange(500)).inputs))
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-3, atol=1e-4)
