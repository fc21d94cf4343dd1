"""Jobs of a sweep that wait until there are enough of them to be trained together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zsl_lab.console.messages import say

#: what the waiting jobs do, and the method and dataset that they have in common
_waiting: list[Callable[[], None]] = []
_kind: list[tuple[Any, ...]] = []
#: methods for which a message said that runs are trained one after another
_said: set[str] = set()


def takes(cfg: DictConfig) -> bool:
    """Whether a job is trained together with others.

    Args:
        cfg: Its configuration.
    """
    if cfg.sweep.together == 1 or cfg.task != "fit":
        return False
    from zsl_lab.run.config import parse

    config = parse(cfg)
    able = config.method_class.trains_together(config.method)
    if able and config.trainer.precision == "32-true" and config.trainer.devices == 1:
        return True
    if config.method.name not in _said:
        _said.add(config.method.name)
        why = "its trainer.precision or trainer.devices" if able else "the method"
        say(
            f"sweep.together={cfg.sweep.together}: method={config.method.name} is trained one run "
            f"after another ({why} does not allow more).",
            error=False,
        )
    return False


def add(cfg: DictConfig, train: Callable[[], None]) -> None:
    """Queue a job; run the waiting ones once they are enough, or if this one is of another kind.

    Args:
        cfg: The job's configuration.
        train: Trains and tests it; raises KeyboardInterrupt to end the sweep.
    """
    kind = tuple(str(OmegaConf.select(cfg, key)) for key in ("method.name", "dataset.name"))
    if _waiting and _kind != [kind]:
        run_waiting()
    _kind[:] = [kind]
    _waiting.append(train)
    if len(_waiting) >= cfg.sweep.together:
        run_waiting()


def run_waiting() -> None:
    """Run the jobs that wait.

    Raises:
        KeyboardInterrupt: The sweep was interrupted.
    """
    jobs = list(_waiting)
    _waiting.clear()
    if not jobs:
        return
    from zsl_lab.run.together import Turns

    errors = [error for error in Turns(jobs).run() if error is not None]
    for error in sorted(errors, key=lambda error: not isinstance(error, KeyboardInterrupt)):
        raise error


def forget() -> None:
    """Forget the waiting jobs of an earlier sweep."""
    _waiting.clear()
    _said.clear()
