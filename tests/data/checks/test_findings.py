"""How findings are shown and enforced."""

from __future__ import annotations

import warnings

import pytest

from zsl_lab.data.checks.findings import Finding, by_level, refuse, warn, with_reader_findings
from zsl_lab.errors import CacheWarning, DataError, DataWarning


def test_strict_refuses_errors_and_warnings_and_lists_all() -> None:
    found = [Finding("note", "n", "A note.", ""), Finding("warning", "w", "Bad.", "Mend it.")]
    with pytest.raises(DataError, match=r"check=strict: .*found 1 problem; .*\n- warning: Bad\. M"):
        refuse(found, "toy")
    refuse(found[:1], "toy")


def test_notes_stay_silent_and_warnings_do_not() -> None:
    with pytest.warns(UserWarning, match=r"^Bad\. Mend it\.$") as caught:
        warn([Finding("note", "n", "A note.", ""), Finding("warning", "w", "Bad.", "Mend it.")])
    assert len(caught) == 1


def test_a_reader_may_name_and_rate_what_it_found() -> None:
    def read() -> int:
        warnings.warn(DataWarning("Tables differ.", "tables contradict"), stacklevel=1)
        warnings.warn(DataWarning("Rows were left out.", "rows left out", "note"), stacklevel=1)
        warnings.warn("The cache is rebuilt.", CacheWarning, stacklevel=1)
        return 3

    with warnings.catch_warnings(record=True) as emitted:
        _, found = with_reader_findings(read)
    assert found == (
        Finding("warning", "tables_contradict", "Tables differ.", ""),
        Finding("note", "rows_left_out", "Rows were left out.", ""),
    )
    said = [str(warning.message) for warning in emitted]
    assert said == ["Rows were left out.", "The cache is rebuilt."]


def test_warnings_of_a_reader_become_findings() -> None:
    def read() -> int:
        warnings.warn("file.mat: left out x.", stacklevel=1)
        return 3

    value, found = with_reader_findings(read)
    assert value == 3
    assert [finding.sentence for finding in found] == ["file.mat: left out x."]
    note = Finding("note", "n", "A note.", "")
    assert by_level([note, *found, *found]) == [*found, note]
