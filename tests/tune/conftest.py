from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zsl_lab.cli import tune
from zsl_lab.tune import figures

#: trials of a second or two
SHORT = (
    *("method=mmvae", "method.latent_dim=8", "method.encoder_hidden=[16]"),
    *("method.decoder_hidden=[16]", "method.prior_hidden=[16]", "selection.draws=2"),
)
SPACE = """\
method.epochs: {low: 1, high: 3}
method.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
method.gamma: [0.01, 0.1]
dataset.normalize: [scale, standard]
"""
#: a command line's arguments in; exit code, standard output and standard error out
Tune = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies draw theirs, which takes longer than their trials, where a test asks for them."""
    if "figures" not in request.fixturenames:
        for name in ("history", "importance"):
            monkeypatch.setattr(figures, name, lambda *args: None)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def command(
    tmp_path: Path,
    space: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Tune]:
    """The command in this process, in a folder of its own, with short trials and a small space."""
    shown = warnings.formatwarning

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ZSL_LAB_CACHE", str(tmp_path / "cache"))
        own = [] if any(a.startswith("space=") for a in arguments) else [f"space={space}"]
        places = [f"paths.settings_dir={tmp_path}/settings"]
        code = tune.main([*SHORT, *own, *places, *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    yield command
    warnings.formatwarning = shown
    sys.stdout.flush()
