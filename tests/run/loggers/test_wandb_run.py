"""W&B's offline files hold what a run logged; the tests read them as `wandb sync` does."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wandb
from omegaconf import DictConfig
from wandb.proto import wandb_internal_pb2

from tests.conftest import SHORT, SHORT_SGAL, Command
from tests.helpers import children
from tests.helpers.forked import Forked
from zsl_lab.errors import ConfigError, OutputError, TrainingError
from zsl_lab.methods.sgal import SGAL
from zsl_lab.run import experiment as run_module
from zsl_lab.run.experiment import run
from zsl_lab.run.loggers import wandb_run
from zsl_lab.run.records.metrics_csv import read_rows

Configure = Callable[..., DictConfig]

#: W&B's log consists of blocks of this many bytes; a record that does not fit into the rest of one
#: is split
BLOCK = 32768
FULL, LAST = 1, 4


@dataclass
class Recorded:
    """What one offline run holds."""

    run: Any
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    step_of: dict[str, str]
    artifacts: list[Any]
    exit_code: int | None
    folder: Path = field(repr=False)

    @property
    def table(self) -> dict[str, Any]:
        (path,) = self.folder.rglob("per_class*.table.json")
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    @property
    def pictures(self) -> set[str]:
        return {
            name.removesuffix("._type")
            for name, value in self.summary.items()
            if value == "image-file"
        }


def records(path: Path) -> Iterator[Any]:
    """Records of a ``.wandb`` file: a header of 7 bytes, then (checksum, length, kind, data)."""
    content, at, whole = path.read_bytes(), 7, b""
    assert content[:4] in (b":W&B", b"")
    while at + 7 <= len(content):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if at + 7 + length > len(content):  # still being written
            return
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            record.ParseFromString(whole)
            yield record
            whole = b""


def values(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def recorded(path: Path) -> Recorded:
    found: dict[str, list[Any]] = {}
    for record in records(path):
        kind = str(record.WhichOneof("record_type"))
        found.setdefault(kind, []).append(getattr(record, kind))
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for change in [found["run"][0].config, *found.get("config", [])]:
        config |= values(change.update)
    for change in found.get("summary", []):
        summary |= values(change.update)
    return Recorded(
        run=found["run"][0],
        config=config,
        rows=[
            {name: value for name, value in values(row.item).items() if not name.startswith("_")}
            for row in found.get("history", [])
        ],
        summary=summary,
        step_of={
            metric.glob_name: metric.step_metric
            for metric in found.get("metric", [])
            if metric.glob_name
        },
        artifacts=found.get("artifact", []),
        exit_code=found["exit"][0].exit_code if "exit" in found else None,
        folder=path.parent,
    )


def offline_runs(folder: Path) -> list[Recorded]:
    """Every offline run below a folder, the oldest first."""
    paths = sorted(folder.rglob("offline-run-*/run-*.wandb"), key=lambda path: path.parent.name)
    # the process that writes them closes a file shortly after its run has ended
    deadline = time.monotonic() + 30
    while not all(_closed(path) for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [recorded(path) for path in paths]


def _closed(path: Path) -> bool:
    return any(record.WhichOneof("record_type") == "exit" for record in records(path))


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in_figures")
def test_a_run_is_recorded_in_its_folder_with_all_that_it_found(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    cfg = configure("method=sgal", "logger=wandb", *SHORT_SGAL, "trainer.log_every_n_steps=10")
    result = run(cfg)
    (found,) = offline_runs(tmp_path / "run")

    assert found.exit_code == 0
    assert (found.run.project, found.run.run_group, found.run.job_type) == ("zsl_lab", "", "sgal")
    assert found.run.display_name == "sgal_digits_seed0"
    assert list(found.run.tags) == ["sgal", "digits", "validation"]
    assert found.run.git.commit == (result.git_commit or "").removesuffix("-dirty")
    assert found.config["method"]["g"] == 0.9
    assert found.config["git_commit"] == result.git_commit

    # every row of metrics.csv is there under the same names, with the step of its phase
    assert found.step_of == {"select/*": "select/step", "refit/*": "refit/step"}
    logged: dict[tuple[str, int], dict[str, float]] = {}
    for row in found.rows:
        for phase in ("select", "refit"):
            if f"{phase}/step" in row:
                own = {
                    name.removeprefix(f"{phase}/"): value
                    for name, value in row.items()
                    if name.startswith(f"{phase}/")
                }
                logged.setdefault((phase, own.pop("step")), {}).update(own)
    expected = {
        (row["phase"], row["step"]): {k: v for k, v in row.items() if k not in ("phase", "step")}
        for row in read_rows(tmp_path / "run")
    }
    assert len(expected) == 16
    assert logged == expected

    assert result.validation is not None
    assert result.oracle is not None
    for group, figures in (
        ("metrics", result.metrics),
        ("validation", result.validation),
        ("oracle", result.oracle),
    ):
        assert {name: found.summary[f"{group}/{name}"] for name in figures} == pytest.approx(
            figures
        )
    assert found.summary["training/steps"] == result.training["steps"]
    assert found.table["columns"] == ["class", "group", "recall"]
    expected_recalls = [
        [name, group, recall]
        for group in ("unseen", "seen")
        for name, recall in result.per_class[group].items()
    ]
    assert found.table["data"] == expected_recalls
    names = ("training_curves", "per_class_recall", "confusion_matrix_unseen", "latent_projection")
    assert found.pictures == {f"figures/{name}" for name in names}
    for name in names:
        (copy,) = (found.folder / "files" / "media" / "images" / "figures").glob(f"{name}_*.png")
        assert copy.read_bytes() == (tmp_path / "run" / "figures" / f"{name}.png").read_bytes()
    assert [artifact.type for artifact in found.artifacts] == ["run_table"]

    assert not list((tmp_path / "here").iterdir())
    assert not list((tmp_path / "home").rglob("artifacts"))
    said = [
        line for line in capfd.readouterr().err.splitlines() if "W&B" in line or "wandb" in line
    ]
    assert said == [
        "W&B: no API key (WANDB_API_KEY, or `wandb login`), so this run is recorded offline. "
        f"Upload it with: wandb sync {tmp_path / 'run' / 'wandb'}"
    ]


@pytest.mark.slow
def test_the_checkpoint_is_an_artifact_on_request(configure: Configure, tmp_path: Path) -> None:
    run(
        configure(
            "method=mmvae",
            "logger=wandb",
            "logger.wandb.checkpoint=true",
            "logger.wandb.name=mine",
            "logger.wandb.group=ours",
            *SHORT,
        )
    )
    (found,) = offline_runs(tmp_path / "run")
    assert (found.run.display_name, found.run.run_group) == ("mine", "ours")
    (model,) = (artifact for artifact in found.artifacts if artifact.type == "model")
    (entry,) = model.manifest.contents
    assert (entry.path, entry.local_path) == (
        "best.ckpt",
        str(tmp_path / "run" / "checkpoints" / "best.ckpt"),
    )


@pytest.mark.slow
def test_the_jobs_of_a_sweep_are_runs_of_one_group(command: Command, tmp_path: Path) -> None:
    overrides = [
        "method=eszsl",
        "callbacks=none",
        "method.lambdas=[1]",
        "method.gammas=[0.1],[1]",
        "logger=wandb",
    ]
    assert command("-m", *overrides, "hydra.sweep.dir=my_sweep") == 0
    found = offline_runs(tmp_path / "my_sweep")  # in no order, if both began within a second
    first, second = sorted(found, key=lambda record: record.run.display_name)
    assert first.run.run_id != second.run.run_id
    assert (first.run.run_group, second.run.run_group) == ("my_sweep", "my_sweep")
    names = ("[1/2] gammas=[0.1]", "[2/2] gammas=[1]")
    assert (first.run.display_name, second.run.display_name) == names
    assert (first.config["method"]["gammas"], second.config["method"]["gammas"]) == ([0.1], [1])
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.summary["metrics/harmonic_mean"] != second.summary["metrics/harmonic_mean"]


@pytest.mark.slow
def test_a_run_that_fails_is_closed_as_failed_and_the_next_is_another(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(SGAL, "train_on", _diverge)
        with pytest.raises(TrainingError, match="diverged"):
            run(configure("method=sgal", "logger=wandb", *SHORT_SGAL, run_dir="bad"))
    run(configure("method=mmvae", "logger=wandb", *SHORT, run_dir="good"))
    (bad,), (good,) = offline_runs(tmp_path / "bad"), offline_runs(tmp_path / "good")
    assert (bad.exit_code, good.exit_code) == (1, 0)
    assert bad.run.run_id != good.run.run_id


def _diverge(self: SGAL, batch: Any) -> Any:
    raise TrainingError("training diverged")


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_same_wandb_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("method=mmvae", "logger=wandb", *SHORT, "trainer.log_every_n_steps=10")

    def interrupt(*args: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "_refit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(configure(*overrides))
    run(configure(*overrides, f"ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"))
    first, second = offline_runs(tmp_path / "run")
    assert first.run.run_id == second.run.run_id
    assert (first.run.resume, second.run.resume) == (True, True)
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert not any(name.startswith("refit/") for row in first.rows for name in row)
    assert not any(name.startswith("select/") for row in second.rows for name in row)
    assert any(name.startswith("refit/") for row in second.rows for name in row)


@pytest.mark.slow
def test_a_resumed_run_that_wandb_does_not_know_yet_is_recorded_from_its_beginning(
    configure: Configure, tmp_path: Path
) -> None:
    overrides = ("method=mmvae", *SHORT)
    run(configure(*overrides))
    run(
        configure(
            *overrides, "logger=wandb", f"ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"
        )
    )
    (found,) = offline_runs(tmp_path / "run")
    assert [row["select/step"] for row in found.rows if "select/check/unseen" in row] == [20, 40]


@pytest.mark.slow
def test_a_new_run_in_the_folder_of_a_finished_one_is_another_wandb_run(
    configure: Configure, tmp_path: Path
) -> None:
    for _ in range(2):
        run(configure("method=mmvae", "logger=wandb", "overwrite=true", *SHORT))
    first, second = offline_runs(tmp_path / "run")
    assert first.run.run_id != second.run.run_id


@pytest.mark.slow
def test_an_agent_of_a_sweep_gives_a_single_run_its_id(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "from-agent")
    run(configure("method=mmvae", "logger=wandb", *SHORT))
    assert offline_runs(tmp_path / "run")[0].run.run_id == "from-agent"


@pytest.mark.slow
def test_a_failing_wandb_at_the_end_is_a_warning_and_the_result_is_there(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "Table", full)
    with pytest.warns(
        UserWarning, match="the result could not be recorded .disk full.; it is in result.json"
    ):
        run(configure("method=mmvae", "logger=wandb", *SHORT))
    assert (tmp_path / "run" / "result.json").exists()
    assert offline_runs(tmp_path / "run")[0].exit_code == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:WandbRun. the result could not be recorded")
def test_a_wandb_that_fails_while_training_does_not_stop_it(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*args: Any, **kwargs: Any) -> None:
        raise OSError("no service")

    monkeypatch.setattr(wandb.Run, "log", lost)
    with pytest.warns(
        UserWarning, match="W&B stops recording this run .no service.. The run goes on"
    ) as warned:
        run(configure("method=mmvae", "logger=wandb", *SHORT))
    assert len([warning for warning in warned if "stops recording" in str(warning.message)]) == 1
    assert (tmp_path / "run" / "result.json").exists()


def test_wandb_that_cannot_start_is_a_sentence(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(**kwargs: Any) -> Any:
        raise wandb.errors.CommError("no answer")

    monkeypatch.setattr(wandb, "init", unreachable)
    with pytest.raises(
        ConfigError, match=r"W&B cannot start this run \(no answer\). Set WANDB_MODE=offline"
    ):
        run(configure("method=mmvae", "logger=wandb", *SHORT))


def test_a_folder_that_cannot_be_written_is_a_sentence(
    configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "wandb").write_text("a file where the folder belongs")
    with pytest.raises(OutputError, match="wandb"):
        run(configure("method=mmvae", "logger=wandb", *SHORT))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "logger.wandb.checkpoint=best",
            "logger.wandb.checkpoint=best: input should be a valid boolean",
        ),
        (
            "+logger.wandb.checkpiont=true",
            r"logger.wandb.checkpiont: there is no such key. "
            r"Did you mean logger.wandb.checkpoint\?",
        ),
    ],
)
def test_a_wrong_key_is_named(configure: Configure, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(configure("method=mmvae", "logger=wandb", override, *SHORT))


@pytest.mark.parametrize(
    ("mode", "key", "expected"),
    [
        (None, True, "online"),
        (None, False, "offline"),
        ("online", True, "online"),
        ("shared", True, "shared"),
        ("offline", True, "offline"),
        ("dryrun", True, "offline"),
        ("disabled", True, "disabled"),
    ],
)
def test_a_key_and_wandb_mode_decide_between_online_and_offline(
    monkeypatch: pytest.MonkeyPatch, mode: str | None, key: bool, expected: str
) -> None:
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setattr(wandb, "login", lambda *, prompt, verify: key)
    found, why = wandb_run._mode()
    assert found == expected
    assert bool(why) == (expected in ("offline", "disabled"))


def test_online_by_order_and_without_a_key_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(ConfigError, match="WANDB_MODE=online: there is no API key for https://"):
        wandb_run._mode()


@pytest.mark.slow
def test_a_login_is_found_and_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(
        f"machine wandb.example.org\n  login user\n  password {40 * '0'}\n"
    )
    environment = {"WANDB_BASE_URL": "https://wandb.example.org"}
    said = Forked(children.print_wandb_mode, env=environment).communicate()
    assert said == ("online\n", "")


@pytest.mark.slow
def test_disabled_records_nothing(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run(configure("method=mmvae", "logger=wandb", *SHORT))
    assert offline_runs(tmp_path / "run") == []
    assert "W&B: nothing is recorded, as WANDB_MODE says." in capfd.readouterr().err
