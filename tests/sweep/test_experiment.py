"""Experiments: their files, missing data, short runs, the paper's table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, open_dict

from tests.conftest import REPOSITORY, Command
from tests.helpers.benchmark_files import Fields, WriteMat
from zsl_lab.report.paper_rows import paper_names
from zsl_lab.run.config import parse
from zsl_lab.run.configuration.trial import adapt, missing
from zsl_lab.sweep.job import LEFT_OUT, read_jobs
from zsl_lab.sweep.plan import leave_out, planned

FOLDER = REPOSITORY / "conf" / "experiment"
EXPERIMENTS = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "bench")
#: names of datasets that nothing stands in for: their yamls have no published counts
WITHOUT_STAND_IN = {"flowers", "imagenet"}


def composed_jobs(
    name: str, *overrides: str, only: Sequence[int] | None = None
) -> list[tuple[list[str], DictConfig]]:
    """Overrides and configurations of the jobs of an experiment, or of those with these numbers."""
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose("config", [f"experiment={name}", *overrides], return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        made = []
        jobs = planned(cfg, listed=True).to_check()
        for job in jobs if only is None else [jobs[number] for number in only]:
            own = loader.load_sweep_config(cfg, job)
            with open_dict(own):
                del own["hydra"]
            own.paths.run_dir = "run"
            made.append((job, own))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_first_and_the_last_job_are_valid_runs_in_either_size(
    name: str, tmp_path: Path
) -> None:
    """In the smoke size on synthetic data, as a folder without data has none to give."""
    for job, cfg in composed_jobs(name, f"paths.data_dir={tmp_path}", only=(0, -1)):
        parse(cfg)
        assert str(tmp_path) in (missing(cfg) or "")
        cfg.sweep.size, cfg.sweep.missing = "smoke", "substitute"
        note = adapt(cfg, job)
        parse(cfg)
        assert cfg.figures is bool(cfg.sweep.smoke.get("figures", False))
        if cfg.dataset.name not in WITHOUT_STAND_IN:
            assert "synthetic" in (note or "")
            assert cfg.dataset.name.endswith(" (synthetic)")
            assert adapt(cfg, job) is None  # nothing is missing any more


def test_experiments_are_the_tables_and_figures_of_the_four_papers() -> None:
    prefixes = ("sgal", "vzsl", "aspn", "n3")
    tables = {name for name in paper_names() if name.startswith(prefixes)}
    assert set(EXPERIMENTS) == tables | {"sgal_from_scratch", "n3_fig3_fig5"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_file_opens_with_what_it_needs_and_what_the_paper_prints(name: str) -> None:
    comment = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").partition("defaults:")[0]
    assert comment.count("\n#") + 1 == comment.count("\n")  # nothing else precedes
    for part in (f"experiment={name} ", "# Needs ", "# Jobs ", "# Published "):
        assert part in comment


# --------------------------------------------------------------------------- size


def settings_of(job: int, name: str, *overrides: str) -> Any:
    given, cfg = composed_jobs(name, "sweep.size=smoke", *overrides, only=[job])[0]
    adapt(cfg, given)
    return cfg


def test_a_short_run_takes_the_short_settings_of_its_method() -> None:
    cfg = settings_of(0, "aspn_table1")
    assert (cfg.method.name, cfg.method.steps, cfg.method.hidden_dim) == ("aspn", 12, 32)


def test_what_the_command_sets_stays_in_a_short_run() -> None:
    assert settings_of(0, "aspn_table1", "method.steps=7").method.steps == 7


def test_an_experiment_adds_to_the_short_settings() -> None:
    cfg = settings_of(0, "aspn_table2")
    assert (cfg.method.hidden_dim, cfg.method.noise_dim) == (1800, "semantics")


def test_the_full_size_is_the_default() -> None:
    [(job, cfg)] = composed_jobs("sgal_table2", "dataset=awa1", only=[0])
    assert adapt(cfg, job) is None
    assert (cfg.method.steps, cfg.figures) == (170_000, True)


# --------------------------------------------------------------------------- combinations


@pytest.mark.slow
def test_combinations_are_left_out() -> None:
    jobs = [cfg for _, cfg in composed_jobs("n3_table2", "method=n3")]
    assert [(cfg.dataset.name, cfg.dataset.split) for cfg in jobs] == [
        ("cub_images", "standard"),
        ("cub_images", "proposed"),
        ("awa2_images", "standard"),
        ("awa2_images", "proposed"),
        ("nabirds", "n3"),
        ("flowers_species", "n3"),
    ]


@pytest.mark.slow
def test_mu_is_what_gamma_leaves() -> None:
    jobs = [parse(cfg).method.model_dump() for _, cfg in composed_jobs("n3_table3")]
    assert [(keys["gamma"], keys["mu"]) for keys in jobs] == [
        (0.999, 0.001),
        (0.99, 0.01),
        (0.9, 0.1),
        (0.5, 0.5),
        (0.1, 0.9),
        (0.01, 0.99),
    ]


# --------------------------------------------------------------------------- whole sweeps


@pytest.fixture
def data(tmp_path: Path, write_mat: WriteMat) -> Path:
    """A folder with small files called AWA1: 8 classes of 8 samples, the last two unseen."""
    labels = np.repeat(np.arange(8), 8)
    rng = np.random.default_rng(0)
    semantics = rng.random((4, 8))
    features = (rng.random((12, 4)) @ semantics)[:, labels] + 0.1 * rng.random((12, 64))
    place = np.arange(64) % 8
    parts = {
        "trainval_loc": (labels < 6) & (place < 6),
        "test_seen_loc": (labels < 6) & (place >= 6),
        "test_unseen_loc": labels >= 6,
    }
    splits: Fields = {
        name: (np.flatnonzero(chosen) + 1).astype(np.uint16)[:, None]
        for name, chosen in parts.items()
    }
    splits |= {"att": semantics, "original_att": semantics}
    folder = tmp_path / "data" / "AWA1"
    write_mat(folder / "att_splits.mat", splits)
    write_mat(folder / "res101.mat", {"features": features, "labels": labels[:, None] + 1.0})
    return folder.parent


ARGUMENTS = ("experiment=sgal_table2", "sweep.size=smoke", "callbacks=none", "hardware=cpu")


def test_jobs_without_data_are_left_out_and_the_table_shows_the_others(
    command: Command, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command(*ARGUMENTS, f"paths.data_dir={data}", "method=mmvae", "hydra.sweep.dir=sweep")
    said = capsys.readouterr()
    assert code == 0
    jobs = read_jobs(Path("sweep"))
    assert [job.outcome for job in jobs] == ["finished", *[LEFT_OUT] * 3]
    for name in ("AWA2", "CUB", "SUN"):
        assert (
            f"1 job left out: {data / name / 'res101.mat'}: no such file; expected"
            in said.out + said.err
        )
        assert f"zsl_lab.data download {name.lower()} " in said.out + said.err
    table = Path("sweep/paper.md").read_text(encoding="utf-8")
    assert all(dataset in table for dataset in ("awa1", "awa2", "cub", "sun"))
    assert Path("sweep/paper.tex").read_text(encoding="utf-8").count(r"\toprule") == 4
    assert Path("sweep/paper.csv").is_file()

    # where the data have come, the sweep goes on
    (data / "AWA1").rename(data / "away")
    (data / "AWA2").mkdir()
    for file in ("res101.mat", "att_splits.mat"):
        (data / "AWA2" / file).write_bytes((data / "away" / file).read_bytes())
    (data / "away").rename(data / "AWA1")
    assert command(*ARGUMENTS, *again(data)) == 0
    assert [job.outcome for job in read_jobs(Path("sweep"))] == ["skipped", "finished"] + [
        LEFT_OUT
    ] * 2


def again(data: Path) -> tuple[str, ...]:
    return (
        f"paths.data_dir={data}",
        "method=mmvae",
        "hydra.sweep.dir=sweep",
        "sweep.resume=true",
    )


def test_without_any_data_no_job_starts(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command(*ARGUMENTS, f"paths.data_dir={tmp_path / 'none'}")
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("no such file; expected the features of dataset") == 4
    assert "Data of every job are missing: no job was started." in said
    assert not Path("outputs").exists()


def test_other_features_of_a_dataset_stand_in(
    command: Command, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "AWA1" / "res101.mat").rename(data / "AWA1" / "vgg19.mat")
    code = command(
        *ARGUMENTS,
        f"paths.data_dir={data}",
        *("method=mmvae", "dataset=awa1", "sweep.missing=substitute", "hydra.sweep.dir=sweep"),
    )
    said = capsys.readouterr()
    assert code == 0
    assert "AWA1: its files are missing; dataset.features=vgg19 instead" in said.out + said.err
    config = (read_jobs(Path("sweep"))[0].folder / "config.yaml").read_text()
    assert "features: vgg19" in config


@pytest.fixture(autouse=True)
def _nothing_is_left_out() -> Any:
    """The sweeper is the same for all tests of a process."""
    yield
    leave_out([])
