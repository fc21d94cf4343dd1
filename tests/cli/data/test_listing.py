"""The list of datasets, and what is said of one."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.benchmark_files import Fields, MakeDataset, WriteMat
from tests.helpers.image_datasets import class_ids, make_nabirds, write_lines
from zsl_lab.cli.data import info, listing
from zsl_lab.cli.data.main import main
from zsl_lab.data.public.sources import PUBLIC, choices, settings
from zsl_lab.data.summary import ClassExample

pytestmark = pytest.mark.slow

CONF = Path(__file__).parents[3] / "conf" / "dataset"
COUNTS = {
    "samples": 20,
    "classes": 5,
    "seen": 4,
    "unseen": 1,
    "trainval": 12,
    "test_seen": 4,
    "test_unseen": 4,
}


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints."""
    assert main(arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence that a command ends with, and its exit code."""
    code = main(arguments)
    return f"{code}: {capsys.readouterr().err}"


def row(out: str, name: str) -> list[str]:
    """The words of the table's row about a dataset."""
    return next(line.split() for line in out.splitlines() if line.startswith(f"{name} "))


@pytest.fixture
def awa2(tmp_path: Path, splits: Fields, recorded: Fields, write_mat: WriteMat) -> Path:
    """A data folder with toy files in AWA2's place."""
    write_mat(tmp_path / "AWA2" / "att_splits.mat", splits)
    write_mat(tmp_path / "AWA2" / "res101.mat", recorded)
    return tmp_path


# list


def test_every_choice_of_dataset_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, "list", "--data-dir", str(tmp_path / "nowhere"))
    assert sorted(choices()) == sorted(path.stem for path in CONF.glob("*.yaml"))
    assert choices()[:6] == ["awa1", "awa2", "cub", "sun", "apy", "flo"]
    for name in choices():
        assert row(out, name)
    assert f"data folder: {tmp_path / 'nowhere'} (not there yet)" in out
    assert row(out, "awa2") == [
        "awa2",
        "37,322",
        "40",
        "+",
        "10",
        "att",
        "85,",
        "original_att",
        "85",
        "no",
    ]
    assert re.search(r"  awa2 +missing: res101\.mat, att_splits\.mat\n", out)
    command = f"python -m zsl_lab.data download awa2 --data-dir {tmp_path / 'nowhere'}"
    assert re.search(rf"  awa2 +{re.escape(command)}", out)
    assert "awa2_images: images licensed for free use and redistribution" in out
    assert re.search(r"awa1, cub, .*: not stated", out)


def test_what_is_here_is_listed_and_has_no_command(
    awa2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, "list", "--data-dir", str(awa2))
    assert row(out, "awa2")[-1] == "yes"
    assert re.search(
        r"  awa2 +on disk: att_splits\.mat \(0\.0 MB\), res101\.mat \(0\.0 MB\)\n", out
    )
    assert "download awa1" in out
    assert "download awa2" not in out


@pytest.mark.parametrize("columns", ["", "80", "100", "120"])
def test_the_list_fits_the_terminal_and_breaks_no_name(
    awa2: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    names = [
        "efficientnet_lite2.mat (0.0 MB)",
        "two words and-more.mat (0.0 MB)",
        "a_name_that_is_rather_long.mat (0.0 MB)",
    ]
    for name in names:
        (awa2 / "AWA2" / name.removesuffix(" (0.0 MB)")).touch()
    out = printed(capsys, "list", "--data-dir", str(awa2))
    top = out[: out.index("to get what is missing")]
    assert max(len(line.rstrip()) for line in top.splitlines()[2:]) <= int(columns or 80)
    assert "…" not in top
    for name in [*names, "descriptions.json", "xlsa17/data/FLO/efficientnet_lite2.mat"]:
        assert name in top


def test_a_dataset_is_in_part_on_the_disk_where_a_file_is_missing(
    awa2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (awa2 / "AWA2" / "res101.mat").unlink()
    out = printed(capsys, "list", "--data-dir", str(awa2))
    assert row(out, "awa2")[-2:] == ["in", "part"]
    assert re.search(r"  awa2 +on disk: att_splits\.mat \(0\.0 MB\); missing: res101\.mat\n", out)
    assert row(out, "digits")[-1] == "embedded"


def test_a_file_in_the_data_folders_place_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").touch()
    answer = refused(capsys, "list", "--data-dir", str(tmp_path / "data"))
    assert answer.startswith(
        f"2: {tmp_path / 'data'}: found a file; expected the folder that holds a folder per "
        "benchmark."
    )


def test_sentences_of_the_birds_may_be_missing(
    tmp_path: Path, splits: Fields, recorded: Fields, write_mat: WriteMat
) -> None:
    write_mat(tmp_path / "CUB" / "att_splits.mat", splits)
    write_mat(tmp_path / "CUB" / "res101.mat", recorded)
    entry = next(entry for entry in listing.entries(tmp_path) if entry.name == "cub")
    assert entry.missing == ("sent_splits.mat (optional)",)
    assert entry.state == "yes"
    assert entry.command == ""


def test_a_data_folder_one_level_off_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "xlsa17" / "data").mkdir(parents=True)
    assert f"There are benchmarks in {tmp_path / 'xlsa17' / 'data'} too" in printed(
        capsys, "list", "--data-dir", str(tmp_path)
    )


def test_the_data_folder_is_that_of_a_run_unless_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSL_LAB_DATA", str(tmp_path))
    assert f"data folder: {tmp_path}\n" in printed(capsys, "list")
    monkeypatch.delenv("ZSL_LAB_DATA")
    monkeypatch.chdir(tmp_path)
    assert f"data folder: {tmp_path / 'data'} (not there yet)\n" in printed(capsys, "list")


def test_what_is_known_of_sources_agrees_with_the_configuration() -> None:
    for name, source in PUBLIC.items():
        keys = settings(name)
        assert keys["name"] == source.folder
        assert source.archive.name in (CONF / f"{name}.yaml").read_text()
        assert all(
            re.fullmatch(r"[0-9a-f]{32}", md5) for md5 in [*source.genuine.values(), *source.others]
        )


# info


def test_statistics_are_those_of_the_files(
    awa2: Path, recorded: Fields, splits: Fields, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, "info", "awa2", "--data-dir", str(awa2))
    words = [line.split() for line in out.splitlines()]
    published = settings("awa2")["counts"]
    for name, count in COUNTS.items():
        assert [name, str(count), f"{published[name]:,}", "differs"] in words
    features = recorded["features"].astype(np.float32)
    assert (
        f"features: [20, 6], from {features.min():.4g} to {features.max():.4g}, mean "
        f"{features.mean():.4g}, 0.0% zeros, all finite" in out
    )
    assert "semantics: att [5, 3], from 0 to 1.4, mean 0.7, 6.7% zeros, all finite" in out
    assert "samples per class: 4 each\n" in out
    assert (
        "leak check: train_loc and val_loc hold 4 of the 4 images of test_seen and 0 of the 4 of "
        "test_unseen." in out
    )
    assert "zsl_lab uses only those in trainval" in out
    assert "validation classes: 1 of the 4 seen ones, as published" in out
    assert "eel  unseen att[2] 1.4  att[1] 0.9  att[0] 0.4" in out
    assert "splits: a version that zsl_lab does not know by its hash" in out
    assert sorted(path.name for path in awa2.rglob("*")) == [
        "AWA2",
        "att_splits.mat",
        "res101.mat",
    ], "nothing is cached"


def test_other_features_and_semantics_can_be_chosen(
    awa2: Path, recorded: Fields, write_mat: WriteMat, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mat(awa2 / "AWA2" / "other.mat", {**recorded, "features": recorded["features"][:2]})
    out = printed(
        capsys,
        "info",
        "awa2",
        "--data-dir",
        str(awa2),
        "--features",
        "other",
        "--semantics",
        "original_att",
    )
    assert "features: [20, 2]" in out
    assert "eel  unseen original_att[2] 140" in out


def test_splits_without_validation_are_said_to_be_drawn(
    tmp_path: Path,
    splits: Fields,
    recorded: Fields,
    write_mat: WriteMat,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del splits["val_loc"]
    write_mat(tmp_path / "SUN" / "att_splits.mat", splits)
    write_mat(tmp_path / "SUN" / "res101.mat", recorded)
    out = printed(capsys, "info", "sun", "--data-dir", str(tmp_path))
    assert "leak check" not in out
    assert "validation classes: none published; a run draws them" in out


def test_a_split_file_alone_says_what_it_knows(
    awa2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (awa2 / "AWA2" / "res101.mat").rename(awa2 / "AWA2" / "other.mat")
    out = printed(capsys, "info", "awa2", "--data-dir", str(awa2))
    assert ["trainval", "12", "23,527", "differs"] in [line.split() for line in out.splitlines()]
    assert ["unseen", "?", "10"] in [line.split() for line in out.splitlines()]
    assert "leak check: train_loc and val_loc hold 4 of the 4 images" in out
    assert "eel  att[2] 1.4" in out
    assert f"Missing: {awa2 / 'AWA2' / 'res101.mat'}" in out
    assert "--features other" in out
    assert f"This gets it: python -m zsl_lab.data download awa2 --data-dir {awa2}" in out


@pytest.mark.parametrize("name", list(PUBLIC))
def test_genuine_split_files_are_recognised(
    genuine: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, "info", name, "--data-dir", str(genuine))
    counts = settings(name)["counts"]
    leaked = 0 if name == "apy" else counts["test_seen"]
    assert f"splits: proposed split ({name.upper()}, file of 20" in out
    assert ("2021 that circulates" if name == "apy" else ": the genuine file") in out
    assert "differs" not in out
    assert (
        f"hold {leaked:,} of the {counts['test_seen']:,} images of test_seen and 0 of the "
        f"{counts['test_unseen']:,} of test_unseen" in out
    )
    assert f"download {name} --data-dir {genuine}" in out


def test_embedded_datasets_need_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "info", "digits", "--data-dir", str(tmp_path / "nowhere"))
    assert "features: [1797, 64], from 0 to 1" in out
    assert "samples per class: 174 (8) to 183 (3), median 180.5" in out
    assert "  0  seen   top_centre 1  upper_left 1  upper_right 1" in out, "attributes with names"
    assert "  class 2   seen   att[6] 0.683  att[8] 0.612" in printed(
        capsys, "info", "synthetic"
    ), "attributes without"


def test_classes_without_semantics_above_zero_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    examples = [ClassExample("ant", "seen", ((3, 2.0), (1, 0.5))), ClassExample("bee", "unseen")]
    info._show_classes(examples, "att")
    out = capsys.readouterr().out
    assert "  ant  seen   att[3] 2  att[1] 0.5\n  bee  unseen none above 0\n" in out


def test_a_file_of_ones_own_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(tmp_path / "my.h5", "w") as file:
        file.attrs.update(format="zsl_lab benchmark", format_version=2, name="birds")
        file["features"], file["labels"] = (
            np.random.default_rng(0).random((20, 6)),
            np.repeat(np.arange(5), 4),
        )
        file["class_names"] = ["ant", "bee", "cat", "dog", "eel"]
        file["semantics/att"], file["semantics/other"] = (
            np.arange(15.0).reshape(5, 3),
            np.ones((5, 2)),
        )
        file["split/trainval"], file["split/test_seen"] = [0, 1, 4, 5, 8, 9, 12, 13], [2, 6, 10, 14]
        file["split/test_unseen"] = [16, 17, 18, 19]
        file["split/train"], file["split/val"] = [0, 1, 2, 4, 5, 8, 9], [12, 13, 14]
    out = printed(capsys, "info", str(tmp_path / "my.h5"))
    assert f"birds ({tmp_path / 'my.h5'})" in out
    assert "leak check: train and val hold 2 of the 4 images of test_seen" in out
    assert "other semantics: other [5, 2]" in out
    assert "eel  unseen att[2] 14" in out
    assert "semantics: other [5, 2], from 1 to 1" in printed(
        capsys, "info", str(tmp_path / "my.h5"), "--semantics", "other"
    )
    wrong = refused(capsys, "info", str(tmp_path / "my.h5"), "--semantics", "othr")
    assert wrong.startswith("2: --semantics: found othr; expected one of those in ")
    assert "Did you mean other?" in wrong


def test_a_damaged_feature_file_is_named(awa2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = awa2 / "AWA2" / "res101.mat"
    path.write_bytes(path.read_bytes()[:600])
    assert refused(capsys, "info", "awa2", "--data-dir", str(awa2)).startswith(
        f"1: {path}: found a damaged or truncated file"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cubb"], "2: cubb: there is no such dataset. Did you mean cub?"),
        (
            ["AWA2", "--semantic", "att"],
            "2: --semantic: there is no such option. Did you mean --semantics?",
        ),
        (
            ["own"],
            "2: own: this is a file of yours; name it: python -m zsl_lab.data info my.h5. `python "
            "-m zsl_lab.data extract` makes",
        ),
        (["digits", "--features", "res101"], "2: --features: dataset=digits has no such choice."),
        (
            ["cub", "--semantics", "snt"],
            "2: --semantics: found 'snt'; expected att, original_att, sent, or a file ending in",
        ),
        (
            ["nothing.H5"],
            "1: nothing.H5: no such file; expected a benchmark in an HDF5 file. Name another, or "
            "make it: `python",
        ),
        (["flo", "--data-dir", "nowhere"], "1: "),
    ],
)
def test_wrong_commands_are_answered_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = refused(capsys, "info", *arguments)
    assert answer.startswith(sentence)
    assert answer.count("\n") == 1


def test_the_semantics_that_were_meant_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "info", "cub", "--semantics", "snt").endswith(
        ".npy. Did you mean sent?\n"
    )
    assert "Did you mean" not in refused(capsys, "info", "flo", "--semantics", "snt"), (
        "these flowers have no sentences"
    )


def test_a_missing_benchmark_names_the_command_that_gets_it(
    tmp_path: Path, make: MakeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = refused(capsys, "info", "flo", "--data-dir", str(tmp_path))
    assert f"`python -m zsl_lab.data download flo --data-dir {tmp_path}` downloads it" in answer


# images and other splits


def test_a_folder_of_images_is_shown_with_its_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_nabirds(tmp_path / "nabirds")
    missing = refused(capsys, "info", "nabirds", "--data-dir", str(tmp_path))
    assert "NAB_easy.mat: no such file or folder; expected a file with train_cid" in missing
    class_ids(tmp_path / "splits_sce" / "NAB_easy.mat", [1, 2, 3, 5], [4, 6])
    assert main(("info", "nabirds", "--data-dir", str(tmp_path))) == 0
    out, err = capsys.readouterr()
    assert "samples 30 (published: 48562), classes 6 (published: 404)" in err
    assert "splits: easy (4 seen + 2 unseen classes of NAB_easy.mat)\n" in out
    assert "no sample in test_seen (conventional zero-shot learning)" in out
    out = printed(capsys, "list", "--data-dir", str(tmp_path))
    assert row(out, "nabirds")[1:5] == ["48,562", "323", "+", "81"]
    assert row(out, "nabirds")[-1] == "yes"
    assert "the images are at https://www.vision.caltech.edu/datasets/cub_200_2011/" in out


def test_another_split_of_a_benchmark_is_shown(
    awa2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(awa2 / "standard_split" / "AWA2" / "testclasses.txt", ["bee", "cat"])
    out = printed(capsys, "info", "awa2", "--split", "standard", "--data-dir", str(awa2))
    assert "splits: standard (3 seen + 2 unseen classes of AWA2)\n" in out
    assert re.search(r"^unseen +2 *$", out, re.MULTILINE)
    answer = refused(capsys, "info", "awa2", "--split", "hard", "--data-dir", str(awa2))
    assert "found split 'hard'; expected proposed or random or standard or n3" in answer
