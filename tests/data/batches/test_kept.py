"""What depends on the samples of a split alone is computed once in a process."""

from __future__ import annotations

import gc

import numpy as np

from zsl_lab.data.batches import kept as module
from zsl_lab.data.batches.kept import kept
from zsl_lab.data.storage.source import ArraySource


def test_a_result_is_computed_once_per_source_samples_and_name() -> None:
    table = np.arange(12.0).reshape(6, 2)
    first, second = ArraySource(table), ArraySource(table)
    computed: list[str] = []

    def found(source: ArraySource, index: list[int], name: str) -> int:
        def compute() -> int:
            computed.append(name)
            return len(computed)

        return kept(source, np.array(index), name, compute)

    assert [found(first, [0, 1], "mean") for _ in range(3)] == [1, 1, 1]
    assert found(first, [1, 0], "mean") == 2
    assert found(first, [0, 1], "std") == 3
    assert found(second, [0, 1], "mean") == 4
    assert found(first, [0, 1], "mean") == 1


def test_a_result_is_forgotten_with_its_source() -> None:
    source = ArraySource(np.zeros((2, 2)))
    kept(source, np.array([0]), "mean", lambda: 0.0)
    before = len(module._kept)
    del source
    gc.collect()
    assert len(module._kept) < before
