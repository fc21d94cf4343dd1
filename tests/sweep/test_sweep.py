"""Sweeps and resumed runs: the command with runs that take no time, then real ones."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from tests.conftest import SHORT, Finished
from tests.helpers.forked import Forked, command_line
from tests.helpers.forked_jobs import sweep_with_joblib
from tests.helpers.lost_workers import LONG, assert_as_whole, until
from tests.test_result import METRICS, RESULT
from zsl_lab.cli import main as cli
from zsl_lab.errors import InterruptionError, TrainingError
from zsl_lab.methods.catalogue import methods_taking
from zsl_lab.run.config import parse
from zsl_lab.run.records.job_file import label
from zsl_lab.sweep import figures as sweep_figures

G = "method.g=0.5,0.9"


class Killed(BaseException):
    """SIGKILL, as far as a test can have it in its own process."""


@dataclass
class Command:
    """Runs the command in this process.

    Attributes:
        begun: Overrides of the runs that took place.
        resumed: The checkpoint of each of them.
        events: What happens in the run of that number: an exception that it ends with.
        drawn: What figures were asked for: the number of settings, the keys, the folder.
    """

    capture: pytest.CaptureFixture[str]
    set_arguments: Callable[[Sequence[str]], None]
    begun: list[list[str]] = field(default_factory=list)
    resumed: list[str | None] = field(default_factory=list)
    events: dict[int, BaseException] = field(default_factory=dict)
    drawn: list[tuple[int, list[str], Path]] = field(default_factory=list)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self.begun.clear()
        self.resumed.clear()
        self.set_arguments(arguments)
        code: Any = 0
        try:
            cli.main()
        except SystemExit as error:
            code = error.code
        return code, *self.capture.readouterr()


@pytest.fixture
def real_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command in an empty folder, which draws no figures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSL_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(cli, "_failures", [])
    made = Command(
        capsys, lambda arguments: monkeypatch.setattr(sys, "argv", ["zsl_lab", *arguments])
    )
    monkeypatch.setattr(
        sweep_figures,
        "draw",
        lambda settings, keys, folder, suffix: made.drawn.append(
            (len(settings), list(keys), folder)
        ),
    )
    return made


@pytest.fixture
def command(
    real_command: Command, monkeypatch: pytest.MonkeyPatch, short_run: Callable[[str], Path]
) -> Command:
    """The command with runs that take no time.

    H is 50 g + 10 p on validation classes and 60 - 50 g on test; each seed adds 1.
    """

    whole = short_run("mmvae") / "checkpoints" / "last.ckpt"

    def run(cfg: DictConfig, overrides: list[str], folder: Path) -> None:
        real_command.begun.append(overrides)
        real_command.resumed.append(cfg.ckpt)
        cfg.paths.run_dir = str(folder)
        config = parse(cfg)
        OmegaConf.save(OmegaConf.create(config.plain), folder / "config.yaml")
        event = real_command.events.get(len(real_command.begun) - 1)
        if event is not None:
            if not isinstance(event, TrainingError):
                (folder / "checkpoints").mkdir()
                shutil.copy(whole, folder / "checkpoints" / "last.ckpt")
            raise event
        method = config.method.model_dump()
        g, p, seed = method.get("g", 0.1), method.get("p", 0.0), config.seed
        found = {**METRICS, "harmonic_mean": 60 - 50 * g + seed}
        validation = {**METRICS, "harmonic_mean": 50 * g + 10 * p + seed, "step": 100}
        result = replace(
            RESULT,
            method=config.method.name,
            dataset=config.dataset.name,
            seed=seed,
            selection=config.selection.name,
            metrics=found,
            calibration=None,
            validation=validation if config.selection.name == "validation" else None,
        )
        result.save(folder)

    monkeypatch.setattr(cli, "_run", run)
    return real_command


def sweeps() -> list[Path]:
    return sorted(path for path in Path("outputs/sweeps").iterdir())


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(out: str, head: str) -> list[str]:
    """The cells of a column of the table that ends a sweep, by the place of its head."""
    lines = out[out.index("Sweep of") :].splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("───"))
    place = lines[rule - 1].split().index(head)
    rows = lines[rule + 1 : lines.index("", rule)]
    return [row.replace(" ± ", "±").split()[place] for row in rows]


# --------------------------------------------------------------------------- a sweep and its end


def test_the_table_goes_by_validation_classes_and_shows_test_beside(command: Command) -> None:
    code, out, _ = command("-m", G, "method.p=0.2,0.4")
    assert code == 0
    assert column(out, "method.g") == ["0.9", "0.9", "0.5", "0.5"]
    assert column(out, "method.p") == ["0.4", "0.2", "0.4", "0.2"]
    for text in (
        "49.0",
        "15.0",
        "Sorted by harmonic_mean on validation classes.",
        f"sweep folder:   {sweeps()[0]}",
    ):
        assert text in out
    assert command.drawn == [(4, ["method.g", "method.p"], sweeps()[0] / "figures")]


def test_seeds_are_one_row_with_their_spread(command: Command) -> None:
    _, out, _ = command("-m", G, "seed=0,2")
    assert column(out, "seeds") == ["2", "2"]
    # 50 * 0.9 + 10 * 0.5, plus 0 and 2
    assert "51.0 ± 1.4" in out
    assert command.drawn == [(2, ["method.g"], sweeps()[0] / "figures")]


def test_every_job_is_a_row_of_the_csv(command: Command) -> None:
    command("-m", G, "seed=0,1")
    rows = rows_of(sweeps()[0])
    assert [(row["job"], row["method.g"], row["seed"], row["outcome"]) for row in rows] == [
        ("0", "0.5", "0", "finished"),
        ("1", "0.5", "1", "finished"),
        ("2", "0.9", "0", "finished"),
        ("3", "0.9", "1", "finished"),
    ]
    assert float(rows[3]["validation_harmonic_mean"]) == pytest.approx(51)
    assert float(rows[3]["test_harmonic_mean"]) == pytest.approx(16)
    assert rows[0]["metric"] == "harmonic_mean"


def test_without_validation_classes_the_order_is_called_what_it_is(command: Command) -> None:
    _, out, _ = command("-m", G, "selection=last")
    assert column(out, "method.g") == ["0.5", "0.9"]
    assert (
        "selection=last has no metric on validation classes: sorted by harmonic_mean on test, "
        "which must not be used to choose settings." in out
    )


def test_a_job_that_fails_leaves_the_others_running_and_is_named_at_the_end(
    command: Command,
) -> None:
    command.events[0] = TrainingError("the loss is not finite.")
    code, out, err = command("-m", "method.g=0.5,0.9,0.7")
    assert code == 1
    assert [overrides[-1] for overrides in command.begun] == [
        "method.g=0.5",
        "method.g=0.9",
        "method.g=0.7",
    ]
    assert column(out, "method.g") == ["0.9", "0.7"]
    assert "1 of 3 jobs without a result:" in err
    assert "0_sgal_digits (method.g=0.5): the loss is not finite." in err
    assert (
        "Run what is missing:  python -m zsl_lab -m method.g=0.5,0.9,0.7 sweep.resume=true" in err
    )
    assert [row["outcome"] for row in rows_of(sweeps()[0])] == ["failed", "finished", "finished"]


def test_a_sweep_whose_jobs_all_fail_says_so(command: Command) -> None:
    command.events.update(dict.fromkeys(range(2), TrainingError("the loss is not finite.")))
    code, out, err = command("-m", G)
    assert code == 1
    assert "2 of 2 jobs without a result:" in err
    assert "Sweep of" not in out


# --------------------------------------------------------------------------- before the first job


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["method.g=0.5,7"], "job 1 (method.g=7): method.g=7: input should be less than"),
        (["method.g=0.5,0.9,abc"], "job 2 (method.g=abc): method.g=abc: input should be a valid"),
        (["seed=0,1,-1"], "job 2 (seed=-1): seed=-1: input should be greater than or equal to 0."),
        (["method=sgal,sgla"], "method=sgla: there is no such choice. Did you mean method=sgal?"),
        (["method=sgal,mmvae", "method.g=0.5"], "one of the choices swept over has no such key"),
        (["trainer.devices=1,1000"], "job 1 (trainer.devices=1000): trainer.devices=1000: more"),
        (["dataset=digits,awa2"], "job 1 (dataset=awa2): "),
        (["method.init_from=null,nowhere.ckpt"], "job 1 (method.init_from=nowhere.ckpt): "),
        (["method.steps=5,0", "seed=0,1"], "job 2 (method.steps=0 seed=0) and 1 other: method: "),
    ],
)
def test_a_wrong_value_of_any_job_is_found_before_the_first_starts(
    command: Command, arguments: list[str], expected: str
) -> None:
    code, _, err = command("-m", *arguments)
    assert code == 2
    assert expected in err
    assert "Traceback" not in err
    assert command.begun == []
    assert not Path("outputs").exists()


def test_every_wrong_job_is_named(command: Command) -> None:
    _, _, err = command("-m", "method.g=7,8", "method.p=0.5,3")
    assert err.count("input should be") == 6
    assert err.endswith("No job was started.\n")


def test_jobs_say_which_of_how_many_they_are_what_was_swept_and_the_time_left(
    command: Command,
) -> None:
    _, out, _ = command("-m", "method.g=0.5,0.9", "seed=0,1", "method.p=0.3")
    announced = [line for line in out.splitlines() if line.startswith("[")]
    assert announced[0] == "[1/4] g=0.5 seed=0"
    assert [line.partition(",")[0] for line in announced[1:]] == [
        "[2/4] g=0.5 seed=1",
        "[3/4] g=0.9 seed=0",
        "[4/4] g=0.9 seed=1",
    ]
    assert all(re.search(r", \S+ (s|min) left$", line) for line in announced[1:])
    assert label(sweeps()[0] / "2_sgal_digits") == "[3/4] g=0.9 seed=0"


def test_a_folder_with_runs_is_refused_unless_its_runs_may_be_replaced(command: Command) -> None:
    place = "hydra.sweep.dir=mine"
    command("-m", G, place)
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    code, _, err = command("-m", "method.g=0.1,0.2", place)
    assert code == 2
    assert "hydra.sweep.dir=mine: this folder holds runs (found mine/0_sgal_digits/result.js" in err
    assert "overwrite=true" in err
    assert {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()} == before
    code, _, _ = command("-m", "method.g=0.1,0.2", place, "overwrite=true")
    assert code == 0
    assert len(command.begun) == 2


def test_two_sweeps_in_one_folder_exclude_each_other(command: Command) -> None:
    Path("mine").mkdir()
    lock = FileLock("mine/.lock")
    with lock:
        code, _, err = command("-m", G, "hydra.sweep.dir=mine")
    assert code == 2
    assert "another process is using this folder" in err
    assert command.begun == []


def test_ctrl_c_ends_the_whole_sweep_and_says_how_to_go_on(command: Command) -> None:
    command.events[1] = InterruptionError("Interrupted.")
    code, _, err = command("-m", "method.g=0.5,0.7,0.9", "method.encoder_hidden=[32]")
    assert code == 130
    assert len(command.begun) == 2
    assert err.endswith(
        "Interrupted. Go on with:\n  python -m zsl_lab -m method.g=0.5,0.7,0.9 "
        "'method.encoder_hidden=[32]' sweep.resume=true\n"
    )


def test_how_a_sweep_is_made_is_no_setting_of_a_run(command: Command) -> None:
    command("-m", G, "sweep.resume=true")
    stored = OmegaConf.load(sweeps()[0] / "0_sgal_digits" / "config.yaml")
    # a short run must never pass for a full one
    assert stored.sweep == {"size": "full"}
    assert "resume" not in stored


# --------------------------------------------------------------------------- named sweeps


@pytest.mark.parametrize(
    ("name", "keys", "jobs"),
    [
        ("sgal_g_p", {"method.g", "method.p"}, 9),
        ("sgal_d_gamma", {"method.d", "method.gamma"}, 9),
    ],
)
def test_a_named_sweep_needs_no_m(command: Command, name: str, keys: set[str], jobs: int) -> None:
    code, _, err = command(f"sweep={name}")
    assert code == 0, err
    assert len(command.begun) == jobs
    assert keys < set(rows_of(sweeps()[0])[0])
    assert command("--cfg", "job", f"sweep={name}")[0] == 0


@pytest.mark.slow
def test_the_sweep_of_the_field_is_every_method_with_three_seeds() -> None:
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose("config", ["sweep=field"], return_hydra_config=True)
    params = OmegaConf.to_container(cfg.hydra.sweeper.params, resolve=True)
    assert params == {"method": methods_taking("features"), "seed": "0,1,2"}
    assert cfg.hydra.mode.name == "MULTIRUN"


def test_what_a_named_sweep_goes_over_may_be_changed(command: Command) -> None:
    command("sweep=sgal_g_p", "method.g=0.7", "seed=3")
    assert len(command.begun) == 3
    assert all({"method.g=0.7", "seed=3"} < set(overrides) for overrides in command.begun)


# --------------------------------------------------------------------------- going on with a sweep


def test_a_killed_sweep_goes_on_where_it_was(command: Command) -> None:
    command.events[1] = Killed()
    with pytest.raises(Killed):
        command("-m", "method.g=0.5,0.7,0.9", "seed=1")
    command.events.clear()
    code, out, err = command("-m", "method.g=0.5,0.7,0.9", "seed=1", "sweep.resume=true")
    assert code == 0, err
    (folder,) = sweeps()
    assert f"sweep.resume=true: goes on in {folder}\n" in out
    assert [overrides[-3:-1] for overrides in command.begun] == [
        ["method.g=0.7", "seed=1"],
        ["method.g=0.9", "seed=1"],
    ]
    assert command.resumed == [
        str((folder / "1_sgal_digits/checkpoints/last.ckpt").absolute()),
        None,
    ]
    assert column(out, "method.g") == ["0.9", "0.7", "0.5"]
    assert "Skipped, since they were finished: 0_sgal_digits." in out
    assert [row["outcome"] for row in rows_of(folder)] == ["skipped", "finished", "finished"]


def test_only_what_failed_is_made_again(command: Command) -> None:
    command.events[0] = TrainingError("the machine is out of memory.")
    assert command("-m", G)[0] == 1
    command.events.clear()
    code, _, err = command("-m", G, "sweep.resume=true")
    assert (code, err) == (0, "")
    assert len(command.begun) == 1
    assert "method.g=0.5" in command.begun[0]


def test_of_several_sweeps_the_newest_of_the_same_command_goes_on(command: Command) -> None:
    for seeds in ("1", "1", "2"):
        command("-m", G, f"seed={seeds}")
    _, out, _ = command("-m", G, "seed=1", "debug=true", "sweep.resume=true")
    assert f"goes on in {sweeps()[1]}\n" in out
    assert command.begun == []


def test_without_an_earlier_sweep_a_new_one_begins(command: Command) -> None:
    code, out, _ = command("-m", G, "sweep.resume=true")
    assert code == 0
    assert (
        "sweep.resume=true: no earlier sweep of this command in outputs/sweeps; a new one begins.\n"
        in out
    )
    assert len(command.begun) == 2


def test_a_result_of_other_settings_is_not_written_over(command: Command) -> None:
    command("-m", G, "hydra.sweep.dir=mine")
    before = Path("mine/1_sgal_digits/result.json").read_bytes()
    code, _, err = command("-m", "method.g=0.5,0.7", "hydra.sweep.dir=mine", "sweep.resume=true")
    assert code == 2
    assert command.begun == []
    assert (
        "1_sgal_digits holds a run of other settings: method.g is 0.9 there, 0.7 here. Leave "
        "sweep.resume out for a sweep in a new" in err
    )
    assert Path("mine/1_sgal_digits/result.json").read_bytes() == before


def test_a_damaged_result_is_made_again(command: Command) -> None:
    command("-m", G)
    (sweeps()[0] / "0_sgal_digits" / "result.json").write_text("{")
    command("-m", G, "sweep.resume=true")
    assert len(command.begun) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("sweep.resume=true",),
            "sweep.resume=true: this is a single run. Use resume=auto to go on with one, or -m for "
            "a sweep.",
        ),
        (
            ("-m", G, "resume=auto"),
            "resume=auto is for single runs. sweep.resume=true goes on with a sweep.",
        ),
        (
            ("-m", "method.g=interval(0.5,0.9)"),
            "give some: KEY=1,2,3. To search between two values: python -m zsl_lab.tune.",
        ),
        (("-m", "hydra/sweeper=optuna", G), "python -m zsl_lab.tune method=... dataset=..."),
        (("sweep=sgal_g",), "Did you mean sweep=sgal_g_p?"),
        (("sweep.resum=true",), "Did you mean sweep.resume"),
    ],
)
def test_a_wish_that_makes_no_sense_is_answered_before_anything_begins(
    command: Command, arguments: Sequence[str], message: str
) -> None:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert command.begun == []
    assert not Path("outputs").exists()


# --------------------------------------------------------------------------- single runs


def test_an_unfinished_run_goes_on_in_its_own_folder(command: Command) -> None:
    command.events[0] = Killed()
    with pytest.raises(Killed):
        command("method.g=0.7", "resume=auto")
    command.events.clear()
    command("method.g=0.8")
    code, out, _ = command("method.g=0.7", "resume=auto")
    assert code == 0
    first, _ = sorted(path for path in Path("outputs/sgal_digits").iterdir() if path.is_dir())
    assert f"resume=auto: goes on in {first}\n" in out
    assert command.resumed == [str(first / "checkpoints" / "last.ckpt")]
    assert (first / "result.json").is_file()


def test_a_finished_run_only_shows_its_result(command: Command) -> None:
    command("seed=5")
    (folder,) = Path("outputs/sgal_digits").iterdir()
    code, out, err = command("seed=5", "resume=auto", "debug=true", "paths.output_dir=./outputs")
    assert (code, err) == (0, "")
    assert command.begun == []
    assert out.startswith(f"resume=auto: this run is finished, in {folder}.\n")
    assert "validation-selected" in out
    assert list(Path("outputs/sgal_digits").iterdir()) == [folder]


def test_without_a_run_of_the_same_configuration_a_new_one_begins(command: Command) -> None:
    command("seed=5")
    code, out, _ = command("seed=6", "resume=auto")
    assert code == 0
    assert (
        "resume=auto: no earlier run of this configuration in outputs/sgal_digits; a new one "
        "begins.\n" in out
    )
    assert len(list(Path("outputs/sgal_digits").iterdir())) == 2


def test_a_run_killed_before_its_first_state_begins_anew(command: Command) -> None:
    command.events[0] = TrainingError("killed")
    command("seed=5")
    command.events.clear()
    assert "a new one begins" in command("seed=5", "resume=auto")[1]
    assert command.resumed == [None]


def test_a_folder_that_is_named_is_the_one_to_go_on_in(command: Command) -> None:
    command("seed=5", "hydra.run.dir=mine")
    assert "finished, in mine." in command("seed=5", "hydra.run.dir=mine", "resume=auto")[1]
    code, _, err = command("seed=6", "hydra.run.dir=mine", "resume=auto")
    assert code == 2
    ways_out = "Give another hydra.run.dir, or replace it: overwrite=true."
    assert err == f"mine holds a run of other settings: seed is 5 there, 6 here. {ways_out}\n"


@pytest.mark.parametrize("wish", ["resume=auto", "sweep.resume=true"])
def test_each_process_of_a_run_goes_on_where_the_one_that_started_it_said(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wish: str
) -> None:
    command.events[0] = Killed()
    with pytest.raises(Killed):
        command("method.g=0.7", "hydra.run.dir=job")
    command.events.clear()
    monkeypatch.setenv("ZSL_LAB_REPORT", str(tmp_path / "report"))
    assert command(
        "method.g=0.7", wish, "hydra.run.dir='job'", "hydra.output_subdir=null", "hydra.mode=RUN"
    ) == (0, "", "")
    assert command.resumed == ["job/checkpoints/last.ckpt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resume=foo",), "resume=foo: input should be 'auto'."),
        (("resume=auto", "ckpt=x.ckpt"), "resume=auto looks for the checkpoint by itself."),
        (("resume=auto", "task=test"), "resume=auto goes on with training; here task=test."),
    ],
)
def test_a_resume_that_makes_no_sense_is_a_sentence(
    real_command: Command, arguments: Sequence[str], message: str
) -> None:
    code, _, err = real_command(*arguments)
    assert code == 2
    assert message in err


# --------------------------------------------------------------------------- the real thing


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_in_other_processes_report_what_failed(tmp_path: Path, launcher: str) -> None:
    """The process that starts them needs no torch, which takes seconds to import."""
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher")
    arguments = [
        "-m",
        f"hydra/launcher={launcher}",
        *("method=mmvae", *SHORT, "selection.report_oracle=false", "figures=false"),
        *("hydra.sweep.dir=made", "seed=0,1"),
    ]
    folder = tmp_path / "made"
    (folder / "1_mmvae_digits").mkdir(parents=True)
    environment = {**os.environ, "ZSL_LAB_CACHE": str(tmp_path / "cache")}
    with FileLock(folder / "1_mmvae_digits" / ".lock"):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "zsl_lab", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 2
    assert "Sweep of mmvae on digits" in done.stdout
    assert "1_mmvae_digits (seed=1): " in done.stderr
    assert "another process is using this folder" in done.stderr
    assert [row["outcome"] for row in rows_of(folder)] == ["finished", "failed"]
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


@pytest.mark.slow
def test_a_sweep_that_was_really_killed_finds_what_it_would_have_found_at_once(
    real_command: Command, finished: Finished
) -> None:
    arguments = ["-m", "method=mmvae", *LONG]
    process = Forked(command_line, arguments)
    try:
        while not list(Path("outputs").glob("sweeps/*/*/checkpoints/last.ckpt")):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
    (folder,) = sweeps()
    assert not list(folder.glob("*/result.json"))
    code, out, err = real_command(*arguments, "sweep.resume=true")
    assert code == 0, err
    assert f"sweep.resume=true: goes on in {folder}\n" in out
    assert_as_whole(finished, {folder / "0_mmvae_digits": 200})


@pytest.mark.long
@pytest.mark.slow
def test_sigterm_ends_the_jobs_in_other_processes_too(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    arguments = [
        "-m",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "method=mmvae",
        *SHORT,
        "method.steps=100000",
        "seed=0,1,2",
    ]
    process = Forked(
        sweep_with_joblib, arguments, cwd=tmp_path, env={"ZSL_LAB_CACHE": str(tmp_path / "cache")}
    )
    try:
        until(lambda: list(tmp_path.glob("outputs/sweeps/*/*/metrics.csv")), process)
        process.terminate()
        _, said = process.communicate(60)
        deadline = time.monotonic() + 60
        while process.group_lives():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
    assert process.returncode == 143
    assert "sweep.resume=true" in said
