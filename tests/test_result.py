from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from zsl_lab import __version__, result
from zsl_lab.errors import DataError, OutputError
from zsl_lab.result import Result, versions

METRICS = {
    "zsl_top1": 80.5,
    "unseen": 47.25,
    "seen": 90.0,
    "harmonic_mean": 61.9672131147541,
    "ausuc": 55.0,
}
RESULT = Result(
    method="sgal",
    dataset="digits",
    seed=0,
    selection="validation",
    metrics=METRICS,
    oracle={**METRICS, "step": 1200},
    per_class={"unseen": {"2": 81.0, "4": 0.0}, "seen": {"Zwölf_\u2603": 100.0}},
    training={
        "steps": 3000,
        "seconds": 12.5,
        "steps_per_second": 240.0,
        "device": "cpu",
        "precision": "32-true",
        "world_size": 1,
    },
    benchmark={
        "classes": 3,
        "seen": 1,
        "unseen": 2,
        "samples": 30,
        "splits_sha256": "ab" * 32,
        "features_sha256": "cd" * 32,
        "splits_version": "unknown",
    },
    checkpoint="/somewhere/checkpoints/best.ckpt",
    versions={"torch": "2.6.0"},
    git_commit=None,
    model={"parameters": 1_000, "flops": 20_000},
    calibration=0.25,
    validation={**METRICS, "step": 1100},
)


def changed(where: str, value: Any) -> dict[str, Any]:
    """The JSON of a result with one field set to ``value``, or taken away if that is ``...``."""
    raw: dict[str, Any] = json.loads(json.dumps(RESULT.__dict__))
    *parents, last = where.split(".")
    inner = raw
    for name in parents:
        inner = inner[name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return raw


def of_many_classes() -> Result:
    unseen = {f"class, {i}": i * 100 / 1999 for i in range(2000)} | {"untested": math.nan}
    return replace(RESULT, per_class={"unseen": unseen, "seen": {'a "quoted" one': 1 / 3}})


def test_the_recalls_of_many_classes_lie_in_a_table_beside_the_result(tmp_path: Path) -> None:
    result = of_many_classes()
    path = result.save(tmp_path)
    assert path.stat().st_size < 5000
    raw = json.loads(path.read_text())
    assert raw["per_class"] == {"unseen": {}, "seen": {}}
    assert raw["per_class_summary"]["unseen"]["classes"] == 2000
    assert raw["per_class_summary"]["unseen"]["quartiles"] == pytest.approx([25, 50, 75])
    found = Result.load(tmp_path)
    assert math.isnan(found.per_class["unseen"].pop("untested"))
    result.per_class["unseen"].pop("untested")
    assert found == result


def test_without_that_table_no_recall_of_a_class_is_known(tmp_path: Path) -> None:
    of_many_classes().save(tmp_path)
    (tmp_path / "per_class.csv").unlink()
    assert Result.load(tmp_path).per_class == {"unseen": {}, "seen": {}}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("unseen,a,101", "line 2: found unseen,a,101"),
        ("other,a,5", "expected unseen or seen"),
        ("unseen,a", "line 2"),
    ],
)
def test_a_damaged_table_of_recalls_is_named(tmp_path: Path, row: str, said: str) -> None:
    of_many_classes().save(tmp_path)
    (tmp_path / "per_class.csv").write_text(f"group,class,recall\n{row}\n")
    with pytest.raises(DataError, match=said):
        Result.load(tmp_path)


def test_round_trip(tmp_path: Path) -> None:
    path = RESULT.save(tmp_path / "run")
    assert path == tmp_path / "run" / "result.json"
    assert Result.load(path) == RESULT
    assert Result.load(tmp_path / "run") == RESULT


def test_the_fields_are_those_of_the_contract(tmp_path: Path) -> None:
    raw = json.loads(RESULT.save(tmp_path).read_text(encoding="utf-8"))
    assert list(raw) == [
        *(
            "method",
            "dataset",
            "seed",
            "selection",
            "metrics",
            "oracle",
            "per_class",
            "training",
            "benchmark",
        ),
        *("checkpoint", "versions", "git_commit", "model", "calibration", "extra", "validation"),
    ]


def test_a_result_from_before_a_field_was_added_is_read(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(changed("model", ...)))
    assert Result.load(tmp_path) == replace(RESULT, model=None)
    (tmp_path / "result.json").write_text(json.dumps(changed("validation", ...)))
    assert Result.load(tmp_path) == replace(RESULT, validation=None)
    (tmp_path / "result.json").write_text(json.dumps(changed("calibration", ...)))
    assert Result.load(tmp_path) == replace(RESULT, calibration=None)


def test_the_oracle_of_each_metric_is_kept(tmp_path: Path) -> None:
    by_metric = {"zsl_top1": {**METRICS, "step": 900}, "harmonic_mean": {**METRICS, "step": 1200}}
    found = replace(RESULT, metric="ausuc", findings=[], oracle_by_metric=by_metric)
    found.save(tmp_path)
    assert Result.load(tmp_path) == found
    assert found.at_best_on_test("zsl_top1") == METRICS["zsl_top1"]


@pytest.mark.parametrize(
    ("metric", "known"),
    [(None, "harmonic_mean"), ("harmonic_mean", "harmonic_mean"), ("zsl_top1", "zsl_top1")],
)
def test_of_an_older_result_the_oracle_of_the_selection_metric_is_known(
    metric: str | None, known: str
) -> None:
    older = replace(RESULT, metric=metric)
    for name in ("zsl_top1", "harmonic_mean"):
        expected = METRICS[name] if name == known else math.nan
        assert older.at_best_on_test(name) == pytest.approx(expected, nan_ok=True)
    assert math.isnan(replace(older, oracle=None).at_best_on_test(known))


def test_nan_is_written_as_null_and_read_as_nan(tmp_path: Path) -> None:
    damaged = replace(
        RESULT,
        metrics={**METRICS, "seen": math.nan},
        per_class={"unseen": {"2": math.nan}, "seen": {}},
        oracle=None,
    )
    raw = json.loads(damaged.save(tmp_path).read_text())
    assert raw["metrics"]["seen"] is None
    assert raw["per_class"]["unseen"]["2"] is None
    found = Result.load(tmp_path)
    assert math.isnan(found.metrics["seen"])
    assert math.isnan(found.per_class["unseen"]["2"])
    assert found.oracle is None


def test_what_is_unknown_of_the_training_stays_none(tmp_path: Path) -> None:
    unknown = {
        "steps": 5,
        "seconds": None,
        "steps_per_second": None,
        "device": None,
        "precision": None,
        "world_size": None,
    }
    replace(RESULT, training=unknown).save(tmp_path)
    assert Result.load(tmp_path).training == unknown


def test_whole_numbers_are_metrics_too_and_unknown_fields_are_ignored(tmp_path: Path) -> None:
    raw = changed("metrics.seen", 90)
    raw["later"] = raw["metrics"]["later"] = 1
    (tmp_path / "result.json").write_text(json.dumps(raw))
    assert Result.load(tmp_path) == RESULT


@pytest.mark.parametrize(
    ("where", "value", "found", "expected"),
    [
        ("seed", ..., "nothing", "an integer"),
        ("seed", "0", '"0"', "an integer"),
        ("seed", True, "true", "an integer"),
        ("seed", 1.5, "1.5", "an integer"),
        ("method", None, "null", "a text"),
        ("selection", "test", '"test"', "one of validation, oracle, last"),
        ("metrics", ..., "nothing", "an object"),
        ("metrics", [1], "[1]", "an object"),
        ("metrics.ausuc", ..., "nothing", "a number or null"),
        ("metrics.ausuc", "high", '"high"', "a number or null"),
        ("oracle", ..., "nothing", "an object or null"),
        ("oracle", 5, "5", "an object or null"),
        ("oracle.step", None, "null", "an integer"),
        ("per_class.unseen.4", "x" * 99, '"' + "x" * 56 + "...", "a number or null"),
        ("training.steps", None, "null", "an integer"),
        ("benchmark.splits_sha256", 7, "7", "a text"),
        ("versions.torch", 2.6, "2.6", "a text"),
        ("git_commit", 0, "0", "a text or null"),
        ("calibration", "0", '"0"', "a number or null"),
        ("model.flops", ..., "nothing", "an integer"),
        ("extra", [], "[]", "an object or null"),
        ("per_class.seen", None, "null", "an object"),
    ],
)
def test_damaged_field(tmp_path: Path, where: str, value: Any, found: str, expected: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(changed(where, value)))
    with pytest.raises(DataError) as error:
        Result.load(path)
    assert str(error.value) == f"{path}: field '{where}': found {found}; expected {expected}."


@pytest.mark.parametrize("where", ["metrics.zsl_top1", "per_class.unseen.4", "oracle.seen"])
@pytest.mark.parametrize(("value", "bound"), [(950.0, "at most 100"), (-1, "at least 0")])
def test_what_is_no_percentage_is_refused(
    tmp_path: Path, where: str, value: float, bound: str
) -> None:
    (tmp_path / "result.json").write_text(json.dumps(changed(where, value)))
    with pytest.raises(DataError, match=rf"'{where}': found {value}; expected .*, {bound}"):
        Result.load(tmp_path)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400])
def test_a_number_that_no_float_can_hold_is_refused(tmp_path: Path, number: str) -> None:
    text = json.dumps(changed("metrics.seen", 123.5)).replace("123.5", number)
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(DataError, match=r"metrics\.seen': found .*; expected a number or null"):
        Result.load(tmp_path)


STORED = """\
{
  "method": "sgal",
  "dataset": "digits",
  "seed": 0,
  "selection": "validation",
  "metrics": {
    "zsl_top1": 80.5,
    "unseen": 47.25,
    "seen": 90.0,
    "harmonic_mean": 61.9672131147541,
    "ausuc": null
  },
  "oracle": null,
  "per_class": {
    "unseen": {
      "2": 1e-07,
      "4": null
    },
    "seen": {
      "Zwölf_☃": 100.0
    }
  },
  "training": {
    "steps": 3000,
    "seconds": 12.5,
    "steps_per_second": null,
    "device": "cpu",
    "precision": "32-true",
    "world_size": 1
  },
  "benchmark": {
    "classes": 3,
    "seen": 1,
    "unseen": 2,
    "samples": 30,
    "splits_sha256": "ab",
    "features_sha256": "cd",
    "splits_version": "unknown"
  },
  "checkpoint": null,
  "versions": {
    "torch": "2.6.0"
  },
  "git_commit": null,
  "model": {
    "parameters": 1000,
    "flops": 20000
  },
  "calibration": 1e+16,
  "extra": {
    "coarse": 12.0
  },
  "validation": null
}
"""


def test_a_stored_file_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(STORED.encode())
    assert Result.load(path).save(tmp_path / "copy").read_bytes() == STORED.encode()


def test_results_need_no_torch() -> None:
    code = "import sys, zsl_lab.result; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b'{"method": "sgal"', "not valid JSON"),
        (b"\x80\x04\x95", "not valid JSON"),
        (b'{"seed": NaN}', "not valid JSON .NaN"),
        (b"[]", "the whole file: found \\[\\]; expected an object"),
    ],
)
def test_damaged_file(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(DataError, match=f"result.json: {said}"):
        Result.load(tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"result\.json: cannot be read \(No such file or directory\)"
    ):
        Result.load(tmp_path)


def test_a_full_disk_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RESULT.save(tmp_path)

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match="the disk is full"):
        replace(RESULT, seed=1).save(tmp_path)
    assert Result.load(tmp_path) == RESULT
    assert os.listdir(tmp_path) == ["result.json"]


def test_versions() -> None:
    found = versions()
    assert found["zsl_lab"] == __version__
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    base = {
        "torch",
        "pytorch-lightning",
        "torchmetrics",
        "hydra-core",
        "omegaconf",
        "pydantic",
        "numpy",
        "scipy",
        "scikit-learn",
        "h5py",
        "wandb",
    }
    # those of extras where they are installed
    assert set(found) - {"torchvision", "transformers"} == {"zsl_lab", "python"} | base


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit that holds the package, which seems to run from there."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    package = tmp_path / "src" / "zsl_lab"
    package.mkdir(parents=True)
    (package / "result.py").write_text("")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(
        tmp_path,
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b.c",
        "commit",
        "--quiet",
        "--message=first",
        "--no-verify",
    )
    monkeypatch.setattr(result, "__file__", str(package / "result.py"))
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, env=environment, timeout=60)


def git_commit() -> str | None:
    """As in a process of its own: what git says is kept in one."""
    result.git_commit.cache_clear()
    return result.git_commit()


def test_git_commit(checkout: Path) -> None:
    commit = git_commit()
    assert commit is not None
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (checkout / "README.md").write_text("no code")
    assert git_commit() == commit
    (checkout / "src" / "zsl_lab" / "new.py").write_text("")
    assert git_commit() == f"{commit}-dirty"


def test_git_commit_inside_a_hook_of_another_repository(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git_commit()
    monkeypatch.setenv("GIT_DIR", str(checkout / "elsewhere"))
    assert git_commit() == expected


def test_no_git_commit_for_a_package_installed_inside_a_checkout(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = checkout / ".venv" / "lib" / "zsl_lab"
    installed.mkdir(parents=True)
    monkeypatch.setattr(result, "__file__", str(installed / "result.py"))
    assert git_commit() is None


def test_no_git_commit_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None


def test_no_git_commit_when_git_hangs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **options: Any) -> None:
        raise subprocess.TimeoutExpired("git", options["timeout"])

    monkeypatch.setattr(subprocess, "run", run)
    assert git_commit() is None
