from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from zsl_lab.data.feature_comparison import Accuracies, Agreement, accuracies, agreement, verdict


def test_agreement_is_the_cosine_of_each_image() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3))
    b[0] = 2 * a[0]
    cosines = [x @ y / np.sqrt((x @ x) * (y @ y)) for x, y in zip(a, b, strict=True)]
    found = agreement(a.astype(np.float32), b.astype(np.float32))
    assert found.least == pytest.approx(min(cosines), abs=1e-6)
    assert found.median == pytest.approx(sorted(cosines)[2], abs=1e-6)
    assert found.equal == pytest.approx(np.mean([c > 0.99 for c in cosines]))
    assert agreement(a, 3 * a).scale == pytest.approx(3)


def test_the_few_images_that_differ_are_found() -> None:
    a = np.random.default_rng(0).normal(size=(9, 4))
    b = 2 * a
    b[[2, 6]] *= [1, -1, 1, -1]
    assert agreement(a, b).others == (2, 6)
    assert agreement(a, a + 0.05).others == ()  # all of them differ somewhat


def test_rows_in_another_order_are_found() -> None:
    rng = np.random.default_rng(0)
    a, other = rng.normal(size=(2, 2000, 8)).astype(np.float32)
    assert agreement(a, 3 * np.roll(a, 1, axis=0)).permuted
    assert not agreement(a, a).permuted
    assert not agreement(a, other).permuted


def test_a_length_for_each_image_is_no_common_scale() -> None:
    a = np.random.default_rng(0).normal(size=(9, 4))
    lengths = np.linspace(0.5, 2, 9)
    assert agreement(a, a * lengths[:, None]).scales == pytest.approx((0.5, 2))
    assert agreement(a, 2 * a).scales is None


def test_accuracies_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = np.array([4, 7, 9])[rng.integers(0, 3, 90)]
    features = rng.normal(size=(90, 6)) + rng.normal(size=(10, 6))[labels] + 1
    train, test = np.arange(60), np.arange(60, 90)
    scaled = StandardScaler().fit(features[train])
    x, z = scaled.transform(features[train]), scaled.transform(features[test])
    ridge = Ridge(alpha=0.1 * len(train)).fit(x, labels[train, None] == np.array([4, 7, 9]))
    probed = np.array([4, 7, 9])[ridge.predict(z).argmax(1)]
    near = KNeighborsClassifier(1, metric="cosine").fit(features[train], labels[train])
    expected = [
        100 * np.mean([(found[labels[test] == c] == c).mean() for c in (4, 7, 9)])
        for found in (probed, near.predict(features[test]))
    ]
    found = accuracies(features, labels, train, test)
    assert [found.linear_probe, found.nearest_neighbour] == pytest.approx(expected)
    assert 40 < found.linear_probe < 100


@pytest.mark.parametrize(
    ("found", "second", "expected"),
    [
        (Agreement(0.98, 1.0, 0.999, 1.0), 80.0, "The same features: "),
        (Agreement(0.98, 1.0, 0.999, 2.0), 80.0, r"The same features, but .* \(factor 2\)"),
        (Agreement(0.6, 0.97, 0.1, 1.0), 79.0, "Similar features, .* can be learnt from both"),
        (Agreement(0.6, 0.97, 0.1, 1.0), 60.0, "Different features: another network"),
        (Agreement(0.1, 0.5, 0.0, 1.0), 80.0, "Different features: another network"),
        (
            Agreement(0.1, 1.0, 0.9, 1.0, (3, 8)),
            80.0,
            r"but for 2 images \(row 3, 8,",
        ),
        (
            Agreement(1.0, 1.0, 1.0, 0.1, scales=(0.05, 0.2)),
            80.0,
            r"a length of its own \(factors 0.05 to 0.2\).*dataset.normalize=l2 only",
        ),
        (Agreement(0.1, 0.5, 0.0, 1.0, permuted=True), 20.0, "in another order of rows"),
        (None, 80.0, "Different features: the dimensions differ"),
    ],
)
def test_the_verdict_follows_from_both(
    found: Agreement | None, second: float, expected: str
) -> None:
    a, b = Accuracies(80.0, 70.0), Accuracies(second, 70.0)
    assert re.search(expected, verdict(found, a, b))
