"""Findings that are kept: those of the check, for the content that was checked and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.sound_data import sound
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.checks import kept
from zsl_lab.data.checks.check import check
from zsl_lab.data.checks.kept import checked_once


def from_file(benchmark: FeatureBenchmark) -> FeatureBenchmark:
    """As if it was read from a verified file."""
    return replace(benchmark, provenance=replace(benchmark.provenance, file_sha256="0" * 64))


def odd() -> FeatureBenchmark:
    """With findings: a copy in test_seen of another class, and samples that are unused."""
    benchmark = sound()
    features = benchmark.features.copy()
    features[benchmark.test_seen[0]] = features[benchmark.trainval[5]]
    return from_file(replace(benchmark, features=features, trainval=benchmark.trainval[2:]))


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name for each check that is made."""
    made: list[str] = []

    def counted(benchmark: FeatureBenchmark) -> object:
        made.append(benchmark.name)
        return check(benchmark)

    monkeypatch.setattr(kept, "check", counted)
    return made


def test_the_second_time_the_same_findings_are_read(tmp_path: Path, checks: list[str]) -> None:
    first, second = checked_once(odd(), tmp_path), checked_once(odd(), tmp_path)
    assert first == second == check(odd())
    assert {finding.level for finding in first} == {"warning", "note"}
    assert len(checks) == 1


def test_names_of_any_bytes_are_kept(tmp_path: Path) -> None:
    names = tuple(f"{name}\udcff" for name in odd().class_names)
    first = checked_once(replace(odd(), class_names=names), tmp_path)
    assert checked_once(replace(odd(), class_names=names), tmp_path) == first
    assert names[0] in first[0].classes


def test_that_nothing_was_found_is_kept_too(tmp_path: Path, checks: list[str]) -> None:
    assert checked_once(from_file(sound()), tmp_path) == []
    assert checked_once(from_file(sound()), tmp_path) == []
    assert len(checks) == 1


def _moved(values: np.ndarray) -> np.ndarray:
    return values[np.r_[1 : len(values), 0]]


@pytest.mark.parametrize(
    "change",
    [
        lambda b: replace(b, trainval=b.trainval[1:]),
        lambda b: replace(b, test_unseen=b.test_unseen[1:]),
        lambda b: replace(b, semantics=_moved(b.semantics)),
        lambda b: replace(b, class_names=tuple(reversed(b.class_names))),
        lambda b: replace(b, features=b.features + 1),
        lambda b: replace(b, name="other"),
        lambda b: replace(b, provenance=replace(b.provenance, file_sha256="1" * 64)),
        lambda b: replace(b, provenance=replace(b.provenance, origin="elsewhere")),
        lambda b: replace(b, recipe=b.recipe.model_copy(update={"attributes": list("tuvwxyz")})),
    ],
)
def test_other_content_is_checked(
    change: Callable[[FeatureBenchmark], FeatureBenchmark], tmp_path: Path, checks: list[str]
) -> None:
    checked_once(odd(), tmp_path)
    checked_once(change(odd()), tmp_path)
    assert len(checks) == 2


def test_other_code_of_the_checks_checks_again(
    tmp_path: Path, checks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked_once(odd(), tmp_path)
    monkeypatch.setattr(kept, "_code", lambda: "another version")
    checked_once(odd(), tmp_path)
    assert len(checks) == 2


@pytest.mark.parametrize("byte", [0, 30, 64, 65, 80, 300])
def test_damaged_findings_are_made_again(byte: int, tmp_path: Path, checks: list[str]) -> None:
    expected = checked_once(odd(), tmp_path)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[byte] ^= 1
    file.write_bytes(content)
    assert checked_once(odd(), tmp_path) == expected
    assert checked_once(odd(), tmp_path) == expected
    assert len(checks) == 2


def test_findings_of_another_benchmark_are_not_taken(tmp_path: Path, checks: list[str]) -> None:
    checked_once(odd(), tmp_path)
    (of_odd,) = tmp_path.iterdir()
    checked_once(from_file(sound()), tmp_path)
    (of_sound,) = set(tmp_path.iterdir()) - {of_odd}
    of_sound.replace(of_odd)
    assert checked_once(odd(), tmp_path) == check(odd())


def test_a_folder_that_cannot_be_written_costs_only_the_check(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    assert checked_once(odd(), taken) == check(odd())


def test_a_benchmark_in_memory_is_always_checked(tmp_path: Path, checks: list[str]) -> None:
    for _ in range(2):
        checked_once(sound(), tmp_path)
    assert len(checks) == 2
    assert list(tmp_path.iterdir()) == []
