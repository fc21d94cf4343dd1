"""Jobs that a cluster starts again, after a time-out or a lost worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins import basic_launcher
from hydra.core import utils
from hydra.core.utils import JobReturn

from tests.sweep.test_sweep import Command, command, real_command

__all__ = ["command", "real_command"]


def test_a_job_that_is_started_again_goes_on_from_its_checkpoint(command: Command) -> None:
    run_job = utils.run_job

    def twice(**kwargs: Any) -> JobReturn:
        """As submitit does after a time-out: the same call again."""
        try:
            return run_job(**kwargs)
        except TimeOutError:
            return run_job(**kwargs)

    class TimeOutError(BaseException):
        """What ends a process at its time limit."""

    command.events[0] = TimeOutError()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic_launcher, "run_job", twice)
        code, _, err = command("-m", "method=mmvae", "seed=0", "hydra.sweep.dir=made")
    assert code == 0, err
    assert command.resumed == [
        None,
        str(Path("made/0_mmvae_digits/checkpoints/last.ckpt").absolute()),
    ]
