from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import DictConfig
from rich.console import Console

from tests.conftest import SHORT_FIT, SHORTER_SGAL
from zsl_lab.console import progress
from zsl_lab.run.callbacks import progress as training_progress
from zsl_lab.run.callbacks.progress import ProgressLine, note, steps_left
from zsl_lab.run.experiment import run

Configure = Callable[..., DictConfig]


@pytest.fixture
def shown(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What a run shows, line by line, as a terminal of some width (None: no terminal) gets it."""

    def shown(*overrides: str, width: int | None) -> list[str]:
        screen = io.StringIO()
        console = Console(
            file=screen, force_terminal=width is not None, width=width or 80, color_system=None
        )
        monkeypatch.setattr(progress, "INTERVAL", 0.0)
        monkeypatch.setattr("zsl_lab.data.batches.groups._MOST", 1)  # a line a step
        monkeypatch.setattr(training_progress, "make_console", lambda **options: console)
        cfg = configure(*(override for override in overrides if override != "callbacks=none"))
        run(cfg)
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
        return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]

    return shown


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_terminal_shows_losses_the_last_check_and_the_time_left(
    shown: Callable[..., list[str]], width: int
) -> None:
    lines = shown(
        "method=sgal", *SHORTER_SGAL, "method.gamma=0.1", "trainer.log_every_n_steps=5", width=width
    )
    assert max(map(len, lines)) <= width
    titles = [line for line in lines if line.startswith("sgal: ")]
    assert titles == [
        "sgal: select, 40 steps (checks on validation classes)",
        "sgal: refit, 40 steps (checks on test are shown only)",
    ]
    drawn = [line for line in lines if " 35/40 " in line]
    assert drawn
    for line in drawn:
        assert re.search(r" 35/40 \d[\d.e+]* steps/s, \d+ (s|min) left +total \d", line)
        assert re.search(r"  u \d+\.\d s \d+\.\d H \d+\.\d$", line)
    # the finished bar is full
    assert sum(" 40/40 " in line for line in lines) >= 2
    # terms as far as they fit
    assert ("separation" in drawn[0]) == (width == 140)


@pytest.mark.slow
def test_the_loss_of_every_method_is_shown(shown: Callable[..., list[str]]) -> None:
    lines = shown(
        "method=n3",
        *SHORT_FIT["n3"],
        "selection.metric=zsl_top1",
        "trainer.log_every_n_steps=5",
        width=100,
    )
    assert max(map(len, lines)) <= 100
    assert any(" base_cross_entropy " in line for line in lines)
    assert any(
        re.search(r" 15/16 .* cross_entropy \d.*  u .* s .* H .* zsl_top1 \d", line)
        for line in lines
    )


@pytest.mark.slow
def test_without_a_terminal_a_phase_is_its_title_and_its_last_check(
    shown: Callable[..., list[str]],
) -> None:
    lines = shown("method=sgal", *SHORTER_SGAL, "trainer.log_every_n_steps=10", width=None)
    assert len(lines) == 4
    assert lines[0] == "sgal: select, 40 steps (checks on validation classes)"
    assert re.fullmatch(
        r"  step 40: total \S+ reconstruction \S+ kl \S+( separation \S+)?  u \S+ s \S+ H \S+"
        r"  \(\S+ steps/s, \d+ (s|min) left\)",
        lines[1],
    )


@pytest.mark.slow
def test_without_a_terminal_a_line_is_printed_when_enough_time_has_passed(
    shown: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL", -1.0)
    lines = shown("method=sgal", *SHORTER_SGAL, "selection=last", width=None)
    steps = [int(line.split(":")[0].removeprefix("  step ")) for line in lines[1:]]
    # a step that ends with a check has a line before it and one after it
    assert steps == sorted([*range(1, 41), 10, 20, 30, 40])


@pytest.mark.slow
def test_a_resumed_phase_says_where_it_goes_on(
    configure: Configure,
    tmp_path: Path,
    shown: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "selection=last")
    cfg = configure(*overrides, "callbacks=none", run_dir="first")
    cfg.paths.pretrained_dir = str(tmp_path / "shared")
    run(cfg)
    override = f"paths.pretrained_dir={tmp_path / 'shared'}"
    lines = shown(*overrides, override, "method.g=0.5", width=None)
    assert lines[0] == "sgal: refit, 40 steps, from step 20 on (checks on test are shown only)"


def test_the_line_is_drawn_on_standard_error() -> None:
    assert ProgressLine()._console.stderr


@pytest.mark.parametrize(
    ("phase", "step", "best", "left"),
    [
        ("refit", 30, None, 70),
        ("refit", 100, None, 0),
        ("select", 30, None, 170),  # and a refit of 100 steps
        ("select", 30, 20, 90),
        ("select", 100, 60, 60),
    ],
)
def test_the_steps_left_are_those_of_both_phases(
    phase: str, step: int, best: int | None, left: int
) -> None:
    method = SimpleNamespace(
        phase=phase, step=step, best=None if best is None else SimpleNamespace(effective_step=best)
    )
    assert steps_left(method, 100) == left  # type: ignore[arg-type]


def test_a_metric_that_no_sample_measures_is_a_dash() -> None:
    metrics = {"unseen": 50.0, "seen": math.nan, "harmonic_mean": math.nan, "ausuc": math.nan}
    method = SimpleNamespace(
        checks=[SimpleNamespace(metrics=metrics)], selection_metric="ausuc", last_losses={}
    )
    assert note(method) == "u 50.0 s - H - ausuc -"  # type: ignore[arg-type]
