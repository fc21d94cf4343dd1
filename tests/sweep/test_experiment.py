"""Experiments: every file composes, missing data, short runs, the paper's table at the end."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, open_dict

from tests.conftest import REPOSITORY
from zsl_lab.run.config import parse
from zsl_lab.run.configuration.trial import adapt, missing
from zsl_lab.sweep.plan import planned

EXPERIMENTS = sorted(
    path.stem
    for path in (REPOSITORY / "conf" / "experiment").glob("*.yaml")
    if path.stem != "bench"
)


def jobs_of(name: str, *overrides: str) -> list[tuple[list[str], DictConfig]]:
    """The jobs of an experiment: overrides, and the composed configuration."""
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose("config", [f"experiment={name}", *overrides], return_hydra_config=True)
        assert cfg.hydra.mode.name == "MULTIRUN"
        loader = GlobalHydra.instance().config_loader()
        made = []
        for job in planned(cfg, listed=True).to_check():
            own = loader.load_sweep_config(cfg, job)
            with open_dict(own):
                del own["hydra"]
            own.paths.run_dir = "run"
            made.append((job, own))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_job_is_a_valid_run(name: str) -> None:
    """So is its short form on data that stand in for missing ones."""
    for job, cfg in jobs_of(name, "paths.data_dir=no_such_folder", "sweep.missing=substitute"):
        parse(cfg)
        cfg.sweep.size = "smoke"
        assert "synthetic" in (adapt(cfg, job) or "") or cfg.dataset.name == "imagenet"
        assert missing(cfg) is None or cfg.dataset.name == "imagenet"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_file_opens_with_what_it_needs(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    comment = text.partition("defaults:")[0]
    for part in (f"experiment={name} ", "# Needs ", "# Jobs ", "# Published "):
        assert part in comment
