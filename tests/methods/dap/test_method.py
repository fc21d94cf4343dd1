from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import composed
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.dap import DAP
from zsl_lab.methods.dap.config import DAPConfig
from zsl_lab.run.config import parse


@cache
def configured(*overrides: str) -> Any:
    """The keys of the method, without anybody's settings."""
    return parse(composed(Path("run"), "settings=none", *overrides)).method


SEEN = np.array([True, True, False, True])
#: the third attribute is shared by all seen classes
TABLE = np.array(
    [[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.5, 0.4], [0.7, 0.6, 0.1, 0.0], [0.1, 0.3, 0.5, 0.9]]
)


def small(*overrides: str, table: np.ndarray = TABLE) -> DAP:
    """DAP on 4 classes (3 seen) with 4 attributes and features of 5 dimensions."""
    config = configured("method=dap", *overrides)
    assert isinstance(config, DAPConfig)
    torch.manual_seed(0)
    classes = ClassSpace(np.arange(4), table.astype(np.float32), SEEN, ("a", "b", "c", "d"))
    return DAP(config, 5, classes)


def features() -> torch.Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(1))


def attribute(value: float, m: int, binarize: str) -> float:
    threshold = float(np.float32(TABLE[SEEN].astype(np.float32)[:, m].mean()))
    return value if binarize == "none" else float(np.float32(value) > threshold)


@pytest.mark.parametrize("binarize", ["mean", "none"])
def test_a_score_is_the_written_out_product_over_attributes(binarize: str) -> None:
    method, x = small(f"method.binarize={binarize}"), features()
    found = method.class_scores(x)
    table = [[attribute(v, m, binarize) for m, v in enumerate(row)] for row in TABLE.tolist()]
    priors = [sum(table[c][m] for c in (0, 1, 3)) / 3 for m in range(4)]
    priors = [p if 0 < p < 1 else 0.5 for p in priors]
    for b, row in enumerate(x):
        p = (method.attribute_logits.weight @ row + method.attribute_logits.bias).sigmoid().tolist()
        for c in range(4):
            expected = sum(
                a * math.log(p[m] / priors[m]) + (1 - a) * math.log((1 - p[m]) / (1 - priors[m]))
                for m, a in enumerate(table[c])
            )
            assert found[b, c].item() == pytest.approx(expected, abs=1e-4)


def test_the_loss_is_the_cross_entropy_of_each_attribute() -> None:
    method, x, labels = small(), features(), torch.tensor([0, 1, 3, 3, 0, 1])
    total = torch.zeros(())
    for row, y in zip(x, labels.tolist(), strict=True):
        p = method.attribute_logits(row).sigmoid()
        for m in range(4):
            a = attribute(TABLE[y][m], m, "mean")
            total = total - (a * p[m].log() + (1 - a) * (1 - p[m]).log())
    found = method.loss(Batch(x, labels, labels))
    torch.testing.assert_close(found, total / (6 * 4))
    parameters = list(method.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(found, parameters, retain_graph=True),
        torch.autograd.grad(total / (6 * 4), parameters),
    )


def test_an_attribute_of_all_seen_classes_rules_no_class_out() -> None:
    method = small()
    assert method.attributes(method.semantics[method.seen_mask])[:, 2].tolist() == [0.0] * 3
    assert method.priors[2].item() == 0.5
    assert method.class_scores(features()).isfinite().all()


def test_new_classes_are_binarised_at_the_means_of_the_trained_ones() -> None:
    method = small()
    threshold = method.thresholds.clone()
    other = ClassSpace(np.arange(1), np.full((1, 4), 0.45, np.float32), np.array([False]), ("e",))
    method.set_classes(other)
    expected = [float(t < 0.45) for t in threshold.tolist()]
    assert method.attributes(method.semantics)[0].tolist() == expected
    assert len(set(expected)) == 2


@pytest.mark.parametrize("value", [-0.2, 1.5])
def test_semantics_that_are_no_probabilities_are_refused_unless_they_are_binarised(
    value: float,
) -> None:
    table = TABLE.copy()
    table[0, 0] = value
    with pytest.raises(
        ConfigError,
        match=rf"^method\.binarize=none: .*found values from .*{value:g}.*expected 0 to 1\. Give "
        r"method\.binarize=mean, .*, or semantics between 0 and 1",
    ):
        small("method.binarize=none", table=table)
    small(table=table)


@pytest.mark.parametrize("binarize", ["mean", "none"])
def test_seen_classes_with_equal_attributes_are_refused(binarize: str) -> None:
    table = np.full((4, 4), 0.5)
    with pytest.raises(ConfigError, match=r"the 3 seen classes have equal attributes .*Give other"):
        small(f"method.binarize={binarize}", table=table)
