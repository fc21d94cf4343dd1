"""Tables of classes in every form: rows join by name, and by position only where that is right."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from tests.helpers.benchmark_files import cells
from zsl_lab.data.files.class_semantics import (
    Array,
    KnownClasses,
    check_agreement,
    join,
    read_semantics_table,
)
from zsl_lab.errors import DataError, DataWarning

NAMES = ("grizzly+bear", "002.Laysan_Albatross", "ox", "ant", "cow", "Bee", "dog", "eel")
RNG = np.random.default_rng(0)
TABLE = RNG.uniform(0, 1, (8, 4)).round(3)
ATT = RNG.uniform(0, 1, (8, 12))
KNOWN = KnownClasses(Path("att_splits.mat"), 8, NAMES, {"att": ATT})


def csv(path: Path, names: list[str], rows: Array, header: str = "class") -> Path:
    lines = [f"{header},a,b,c,d"] if header else []
    lines += [f"{n}," + ",".join(map(str, r)) for n, r in zip(names, rows.tolist(), strict=True)]
    path.write_text("\n".join(lines))
    return path


def beside(path: Path, names: list[str], name: str, numbered: bool = False) -> None:
    lines = [f"{i + 1} {n}" if numbered else n for i, n in enumerate(names)]
    (path.parent / name).write_text("\n".join(lines))


def npy(path: Path, rows: Array) -> Path:
    np.save(path, rows)
    return path


def npy_and_names(path: Path, names: list[str], rows: Array) -> Path:
    beside(path, names, f"{path.stem}.names.txt")
    return npy(path, rows)


def npy_and_classes(path: Path, names: list[str], rows: Array) -> Path:
    beside(path, names, "classes.txt", numbered=True)
    return npy(path, rows)


def text_and_names(path: Path, names: list[str], rows: Array) -> Path:
    np.savetxt(path, rows, fmt="%.3f")
    beside(path, names, f"{path.stem}.names.txt")
    return path


def json_lists(path: Path, names: list[str], rows: Array) -> Path:
    path.write_text(json.dumps(dict(zip(names, rows.tolist(), strict=True))))
    return path


def json_objects(path: Path, names: list[str], rows: Array) -> Path:
    path.write_text(
        json.dumps(
            {
                n: dict(zip("abcd", r, strict=True))
                for n, r in zip(names, rows.tolist(), strict=True)
            }
        )
    )
    return path


def mat(path: Path, names: list[str], rows: Array) -> Path:
    scipy.io.savemat(path, {"att": rows.T, "allclasses_names": cells(names)})
    return path


WRITERS: list[tuple[str, Callable[[Path, list[str], Array], Path]]] = [
    ("a.csv", csv),
    ("pandas.csv", lambda path, names, rows: csv(path, names, rows, header=" ")),
    ("species.csv", lambda path, names, rows: csv(path, names, rows, header="species")),
    ("bare.csv", lambda path, names, rows: csv(path, names, rows, header="")),
    ("a.npy", npy_and_names),
    ("b.npy", npy_and_classes),
    ("a.txt", text_and_names),
    ("lists.json", json_lists),
    ("objects.json", json_objects),
    ("a.mat", mat),
]
ORDER = [5, 3, 1, 0, 7, 2, 4, 6]


def read(path: Path, known: KnownClasses = KNOWN) -> tuple[Array, list[DataWarning]]:
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        table = join(read_semantics_table(path), known)
    return table, [w.message for w in raised if isinstance(w.message, DataWarning)]


@pytest.mark.parametrize(("file", "write"), WRITERS, ids=[name for name, _ in WRITERS])
def test_rows_join_by_name(
    tmp_path: Path, file: str, write: Callable[[Path, list[str], Array], Path]
) -> None:
    path = write(tmp_path / file, [NAMES[c] for c in ORDER], TABLE[ORDER])
    table, notes = read(path)
    np.testing.assert_allclose(table, TABLE, rtol=1e-6)
    assert notes == []
    # spelled otherwise, and with a class that the benchmark does not have
    spelled = ["Grizzly Bear", "laysan-albatross", *NAMES[2:], "zebra"]
    table, notes = read(write(tmp_path / file, spelled, np.vstack([TABLE, TABLE[:1] + 1])))
    np.testing.assert_allclose(table, TABLE, rtol=1e-6)
    assert [note.level for note in notes] == ["note", "note"]
    assert "'Grizzly Bear for grizzly+bear'" in str(notes[0])
    assert "left out ('zebra')" in str(notes[1])
    with pytest.raises(
        DataError,
        match=r"no row for 1 of 8 classes \('ox'\), and rows for 'oxx'.*mean 'ox' by 'oxx'",
    ):
        read(write(tmp_path / file, ["oxx" if n == "ox" else n for n in NAMES], TABLE))
    with pytest.raises(DataError, match=r"no row for 2 of 8 classes \('dog', 'eel'\)"):
        read(write(tmp_path / file, list(NAMES[:6]), TABLE[:6]))


@pytest.mark.parametrize("file", ["a.csv", "a.npy", "a.mat"])
def test_names_that_are_repeated_or_too_few_are_refused(tmp_path: Path, file: str) -> None:
    write = dict(WRITERS)[file]
    with pytest.raises(DataError, match="'ox'"):
        read(write(tmp_path / file, ["ox", "ox", *NAMES[2:]], TABLE))
    if file != "a.csv":
        with pytest.raises(DataError, match=r"found 8 names in .* and 4 rows.* It is transposed"):
            read(write(tmp_path / file, list(NAMES), TABLE.T))


def test_a_header_that_numbers_the_columns_is_no_class(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = [f"{n},{','.join(map(str, row))}" for n, row in zip(NAMES, TABLE.tolist(), strict=True)]
    header = ",".join(["name", *(str(i) for i in range(TABLE.shape[1]))])
    path.write_text("\n".join([header, *rows]))
    table, notes = read(path)
    np.testing.assert_allclose(table, TABLE)
    assert notes == []


def test_rows_without_names_are_taken_in_order_and_said(tmp_path: Path) -> None:
    table, (note,) = read(npy(tmp_path / "own.npy", TABLE))
    np.testing.assert_array_equal(table, TABLE)
    assert note.level == "warning"
    assert "the rows have no names; they were taken in the order of att_splits.mat" in str(note)
    _, (note,) = read(npy(tmp_path / "own.npy", ATT * 100))
    assert note.level == "note"
    assert "they agree with 'att' row by row" in str(note)


def test_another_order_than_that_of_a_known_table_is_an_error(tmp_path: Path) -> None:
    by_name = np.argsort(NAMES)
    with pytest.raises(DataError, match=r"8 of 8 rows.*row 1, of 'grizzly\+bear'.*sorted by name"):
        read(npy(tmp_path / "own.npy", 100 * ATT[by_name]))
    with pytest.raises(DataError, match="Expected rows that belong to their names"):
        read(npy_and_names(tmp_path / "own.npy", list(NAMES), ATT[ORDER]))


def test_a_transposed_table_is_called_transposed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found 4 classes; expected 8.* It is transposed"):
        read(npy(tmp_path / "own.npy", TABLE.T))
    square = RNG.uniform(0, 1, (12, 12))
    known = KnownClasses(Path("s.mat"), 12, None, {"att": square})
    with pytest.raises(DataError, match="found a transposed table: it agrees with 'att'"):
        read(npy(tmp_path / "own.npy", square.T), known)


def test_a_column_of_row_numbers_is_no_attribute(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="numbers from 1 to 8 in the first column"):
        read(npy(tmp_path / "own.npy", np.column_stack([np.arange(1, 9), TABLE])))


def test_classes_without_names_are_joined_by_their_numbers(tmp_path: Path) -> None:
    known = KnownClasses(Path("s.mat"), 8, None, {})
    numbers = [f"{c + 1:03d}" for c in ORDER]
    np.testing.assert_allclose(
        read(csv(tmp_path / "a.csv", numbers, TABLE[ORDER]), known)[0], TABLE
    )
    with pytest.raises(DataError, match=r"s\.mat has no names: number the rows class 1 to class 8"):
        read(csv(tmp_path / "a.csv", list(NAMES), TABLE), known)


def test_two_tables_that_contradict_each_other() -> None:
    att, original = ATT / np.linalg.norm(ATT, axis=1, keepdims=True), ATT * 100
    check_agreement({"att": att, "original_att": original}, NAMES, "a.mat")
    check_agreement({"att": att, "original_att": original[:, :5]}, NAMES, "a.mat")
    for wrong, found in ((att.T, "transposed"), (att[ORDER], "another order of classes")):
        with pytest.raises(DataError, match=f"contradict each other: .*{found}"):
            check_agreement({"att": wrong, "original_att": original}, NAMES, "a.mat")
    square = RNG.uniform(0, 1, (12, 12))
    with pytest.raises(DataError, match="when one of them is transposed"):
        check_agreement({"att": square.T, "original_att": square}, None, "a.mat")
    with pytest.raises(DataError, match="do not correlate"):
        check_agreement({"att": RNG.normal(size=(12, 12)), "original_att": square}, None, "a.mat")


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("mark", [".", ","])
def test_a_table_with_another_separator_is_named_as_such(
    tmp_path: Path, separator: str, called: str, mark: str
) -> None:
    lines = [["class", "a", "b"], ["ant", f"0{mark}5", "1"], ["bee", f"0{mark}7", "2"]]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(separator.join(line) for line in lines))
    with pytest.raises(DataError, match=rf"a\.csv: found columns separated by {called}; "):
        read_semantics_table(path)


def test_a_further_table_in_another_order_is_warned_of() -> None:
    table = RNG.normal(size=(8, 12))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # other numbers of the same classes, and other attributes
        check_agreement({"att": table, "own": 2 * table + 1}, NAMES, "b.h5")
        check_agreement({"att": table, "own": RNG.normal(size=(8, 12))}, NAMES, "b.h5")
        check_agreement({"att": table, "own": RNG.normal(size=(8, 9))}, NAMES, "b.h5")
    rolled = np.roll(table, 1, axis=0)
    for kinds in (("att", "own"), ("one", "two")):
        with pytest.warns(DataWarning, match=rf"^b\.h5: fields '{kinds[1]}' and '{kinds[0]}'"):
            check_agreement(dict(zip(kinds, (rolled, 2 * table + 1), strict=True)), NAMES, "b.h5")


def test_classes_in_which_two_tables_contradict_each_other_are_named() -> None:
    rng = np.random.default_rng(3)
    original = rng.uniform(0, 100, (12, 6))
    att = original / np.linalg.norm(original, axis=1, keepdims=True)
    names = [f"k{i}" for i in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_agreement({"att": att, "original_att": original}, names, "f.mat")
    original[4, 2] += 30
    with pytest.warns(DataWarning, match=r"f\.mat: fields 'att' and .* numbers for 'k4', where"):
        check_agreement({"att": att, "original_att": original}, names, "f.mat")
