from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

import zsl_lab  # noqa: F401  before a test imports torchmetrics: see zsl_lab.extraction.torchvision_import
from zsl_lab.cli import main as cli
from zsl_lab.methods.base import ZeroShotMethod

pytest_plugins = (
    "tests.helpers.benchmark_files",
    "tests.helpers.runs",
    "tests.helpers.tiny_bert",
)

REPOSITORY = Path(__file__).resolve().parents[1]

#: a run of a second or two: small networks, few steps, nothing on the screen
SHORT = (
    "callbacks=none",
    "method.steps=40",
    "method.latent_dim=8",
    "method.encoder_hidden=[32]",
    "method.decoder_hidden=[32]",
    "method.prior_hidden=[32]",
    "selection.check_every=20",
)
SHORT_SGAL = (*SHORT, "method.fine_tune_steps=40")
SHORT_VZSL = tuple(override for override in SHORT if "prior_hidden" not in override)
#: such a run of every method
SHORT_FIT = {"mmvae": SHORT, "sgal": SHORT_SGAL, "sgal_dropout": SHORT_SGAL}
SHORT_FIT |= {
    "vzsl": SHORT_VZSL,
    "vzsl_no_margin": SHORT_VZSL,
    "vzsl_no_reconstruction": SHORT_VZSL,
}
SHORT_FIT |= {"eszsl": ("callbacks=none", "method.gammas=[1,0.1,0.01]", "method.lambdas=[1,0.1]")}
SHORT_FIT |= {"exem": ("callbacks=none",)}
SHORT_ASPN = (
    *("callbacks=none", "dataset.normalize=minmax", "selection.check_every=20"),
    *(
        "method.steps=40",
        "method.learning_rate=0.001",
        "method.hidden_dim=32",
        "method.noise_dim=8",
    ),
)
SHORT_FIT |= {"aspn_baseline": SHORT_ASPN, "aspn_spn": SHORT_ASPN, "aspn": SHORT_ASPN}
SHORT_FIT |= {
    "n3": (
        *(
            "callbacks=none",
            "selection.check_every=10",
            "method.base_steps=20",
            "method.steps=20",
            "method.batch_size=16",
        ),
        *(
            "method.hidden_dim=16",
            "method.permutations=2",
            "method.compare_by=inner_product",
            "method.scale=1",
        ),
    )
}
SHORT_FIT["n3_classifier"] = SHORT_FIT["n3"]
METHODS = sorted(path.stem for path in (REPOSITORY / "conf" / "method").glob("*.yaml"))

#: a command line's arguments in, its exit code out
Command = Callable[..., int]


@contextmanager
def power_cut(
    method_class: type[ZeroShotMethod], step: int, phase: str | None = None
) -> Iterator[None]:
    """What is run inside must crash after ``step`` steps, of a phase or of any."""
    train_on = method_class.train_on

    def crash(self: ZeroShotMethod, batch: Any) -> Any:
        if self.step == step and phase in (None, self.phase):
            raise RuntimeError("power cut")
        return train_on(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method_class, "train_on", crash)
        with pytest.raises(RuntimeError, match="power cut"):
            yield


@pytest.fixture
def shared() -> Path:
    """The folder of real data that lies beside the checkout, or where ZSL_LAB_SHARED says."""
    folder = Path(os.environ.get("ZSL_LAB_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}; ZSL_LAB_SHARED names another place")
    return folder


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a finished run of a method, as in SHORT_FIT and without figures; made once, so leave it as it is."""
    place = tmp_path_factory.mktemp("short_runs")

    def short_run(method: str) -> Path:
        folder = place / method
        if not folder.exists():
            from zsl_lab.run.experiment import run
            from zsl_lab.run.records import artifacts

            with pytest.MonkeyPatch.context() as patch:
                # drawing takes longer than the training
                patch.setattr(artifacts, "draw_figures", lambda *args, **kwargs: None)
                run(composed(folder, f"method={method}", *SHORT_FIT[method]))
        return folder

    return short_run


def composed(folder: Path, *overrides: str) -> DictConfig:
    """A configuration that writes to a folder, with a cache beside it."""
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose("config", list(overrides))
    cfg.paths.run_dir = str(folder)
    cfg.paths.cache_dir = str(folder.parent / "cache")
    return cfg


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose a configuration from overrides, writing below the test's own folder."""

    def configure(*overrides: str, run_dir: str = "run") -> DictConfig:
        return composed(tmp_path / run_dir, *overrides)

    return configure


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in this process, in a folder of its own; gives its exit code."""

    def command(*arguments: str) -> int:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ZSL_LAB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sys, "argv", ["zsl_lab", *arguments])
        monkeypatch.setattr(cli, "_failures", [])
        try:
            cli.main()
        except SystemExit as exit_:
            return int(str(exit_.code))
        return 0

    return command
