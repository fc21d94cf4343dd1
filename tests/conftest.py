from __future__ import annotations

import gc
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from tests.helpers import quick
from zsl_lab.methods import catalogue

if TYPE_CHECKING:
    from zsl_lab.methods.base import ZeroShotMethod

# the process that starts xdist's workers imports this file too, and needs no torch
quick.install()

pytest_plugins = (
    "tests.helpers.benchmark_files",
    "tests.helpers.http_server",
    "tests.helpers.hub_server",
    "tests.helpers.runs",
    "tests.helpers.tiny_bert",
)

# the settings that a developer has tuned are none of the tests'
os.environ["ZSL_LAB_SETTINGS"] = str(Path(__file__).parent / "no_such_folder")

REPOSITORY = Path(__file__).resolve().parents[1]

#: every method found in conf/method
ENTRIES = {entry.name: entry for entry in catalogue.entries()}
METHODS = sorted(ENTRIES)
#: a run of a second or two of every method: small networks, few steps, nothing on the screen
SHORT_FIT = {name: ("callbacks=none", *ENTRIES[name].overrides("short")) for name in METHODS}
#: the same of two methods with forty steps, eighty of SGAL, and a check after every twenty
SHORT = (*SHORT_FIT["mmvae"], "method.steps=40", "selection.check_every=20")
SHORT_SGAL = (*SHORT_FIT["sgal"], *SHORT[-2:], "method.fine_tune_steps=40")
#: the latter with twenty steps of each, and a check after every ten
SHORTER_SGAL = (*SHORT_SGAL, "method.steps=20", "method.fine_tune_steps=20")
SHORTER_SGAL += ("selection.check_every=10",)
#: a run of one phase, without checks; ``selection=last`` would be composed anew
REFIT_ALONE = ("selection.name=last", "selection.report_oracle=false")
OF_IMAGES = [name for name in METHODS if ENTRIES[name].takes == "images"]
OF_FEATURES = [name for name in METHODS if ENTRIES[name].takes == "features"]

#: a command line's arguments in, its exit code out
Command = Callable[..., int]
#: overrides in, the folder of a finished run out
Finished = Callable[..., Path]


#: fixtures that train, or start the command: the tests that use them are slow
_TRAINING = {
    *("command", "finished", "fitted", "own_conf"),
    *("real_command", "run_of_two", "short_run", "trained"),
}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Looks for no garbage while tests are collected, and seldom later: that takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.set_threshold(20_000, 20, 20)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what trains as slow; what takes long comes first, so that nobody waits for it."""
    for item in items:
        if _TRAINING & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@contextmanager
def power_cut(
    method_class: type[ZeroShotMethod], step: int, phase: str | None = None
) -> Iterator[None]:
    """What is run inside must crash after ``step`` steps, of a phase or of any.

    Every check before it writes a state to resume from.
    """
    from zsl_lab.run.callbacks import phase_checkpoint

    train_on = method_class.train_on

    def crash(self: ZeroShotMethod, batch: Any) -> Any:
        if self.step == step and phase in (None, self.phase):
            raise RuntimeError("power cut")
        return train_on(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method_class, "train_on", crash)
        patch.setattr(phase_checkpoint, "SECONDS_BETWEEN", 0)
        with pytest.raises(RuntimeError, match="power cut"):
            yield


@pytest.fixture(scope="session", autouse=True)
def _quick() -> Iterator[None]:
    """Composing takes a fifth of a second, writing the files of a run a tenth, its PDFs more."""
    with quick.compositions_kept(), quick.disk_not_waited_for(), quick.fonts_kept():
        yield


@pytest.fixture(scope="session", autouse=True)
def _draw_figures() -> Iterator[Callable[..., None]]:
    """Runs draw no figures, which takes longer than their training: see ``figures``."""
    from zsl_lab.run.records import run_figures

    draw = run_figures.draw_figures
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_figures, "draw_figures", lambda *args, **kwargs: None)
        patch.setenv("PYTHONPATH", str(REPOSITORY / "tests" / "helpers" / "quick_start"))
        yield draw


@pytest.fixture
def figures(_draw_figures: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a test that asks for this draw their figures."""
    from zsl_lab.run.records import run_figures

    monkeypatch.setattr(run_figures, "draw_figures", _draw_figures)
    monkeypatch.delenv("PYTHONPATH")


@pytest.fixture
def shared() -> Path:
    """The folder of real data that lies beside the checkout, or where ZSL_LAB_SHARED says."""
    folder = Path(os.environ.get("ZSL_LAB_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}; ZSL_LAB_SHARED names another place")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Finished:
    """The folder of a finished run of a configuration, made once; shared, so do not change it.

    The workers of pytest-xdist share the runs too.
    """
    ours = tmp_path_factory.getbasetemp()
    place = (ours.parent if hasattr(request.config, "workerinput") else ours) / "finished"
    place.mkdir(exist_ok=True)

    def finished(*overrides: str) -> Path:
        digest = hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:16]
        folder = place / digest / "run"  # beside its cache
        with FileLock(place / f"{digest}.lock"):
            if not (folder / "result.json").exists():
                _train(folder, overrides)
        return folder

    return finished


def _train(folder: Path, overrides: tuple[str, ...]) -> None:
    from zsl_lab.run.experiment import run
    from zsl_lab.run.records import run_figures

    with pytest.MonkeyPatch.context() as patch:  # whatever the test that asks first draws
        patch.setattr(run_figures, "draw_figures", lambda *args, **kwargs: None)
        run(composed(folder, *overrides))


@pytest.fixture(scope="session")
def short_run(finished: Finished) -> Callable[[str], Path]:
    """The folder of a finished short run of a method; shared, so do not change it."""
    return lambda method: finished(f"method={method}", *SHORT_FIT[method])


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
    from zsl_lab.cli import main as cli

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
