"""``hydra/launcher=ray``: the jobs of a sweep as tasks of a Ray cluster.

It has the keys of Hydra's own plugin of this name, which does not admit recent versions of
cloudpickle, and joins a running cluster only with one more key (``object_store_memory``, Hydra's
issue 2893). A worker of Ray runs one job after another, so that it imports packages and loads the
benchmark once.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from zsl_lab.errors import ConfigError, TrainingError

#: as configurations name the launcher
TARGET = "zsl_lab.sweep.ray_launcher.RayLauncher"
#: variables of the environment that jobs take from the command
_VARIABLES = ("ZSL_LAB_", "HYDRA_FULL_ERROR", "MPLBACKEND")
#: exit code of a worker that is asked to stop; Ray then starts the job elsewhere
_STOPPED = 143


def register() -> None:
    """Let Hydra find the launcher: it only accepts those of the package hydra_plugins itself.

    Raises:
        ConfigError: Ray is not installed.
    """
    _imported()
    known = Plugins.is_in_toplevel_plugins_module
    if not known(TARGET):
        accepted = staticmethod(lambda clazz: clazz == TARGET or known(clazz))
        Plugins.is_in_toplevel_plugins_module = accepted  # type: ignore[method-assign]
    Plugins.instance().register(RayLauncher)


@dataclass(frozen=True)
class _Sweep:
    """What the jobs of a sweep have in common.

    Attributes:
        context: Hydra's loader and callbacks.
        config: The sweep's configuration.
        task_function: What a job does.
        singletons: Hydra's state in the process of the command.
        folder: The working folder of the command.
        environment: Variables that jobs take from it.
    """

    context: HydraContext
    config: DictConfig
    task_function: TaskFunction
    singletons: Any
    folder: str
    environment: Mapping[str, str]


class RayLauncher(Launcher):
    """Runs the jobs of a sweep on a Ray cluster.

    Args:
        ray: ``init``, arguments of :func:`ray.init`, and ``remote``, those of :func:`ray.remote`.
    """

    def __init__(self, ray: DictConfig) -> None:
        self._arguments: Any = OmegaConf.to_container(ray, resolve=True)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what the jobs have in common; called by Hydra."""
        self._sweep = _Sweep(
            hydra_context,
            config,
            task_function,
            Singleton.get_state(),
            os.getcwd(),
            {name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)},
        )

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs, and wait for all of them.

        Args:
            job_overrides: Overrides of each job.
            initial_job_idx: Number of the first.

        Returns:
            What each returned. A job whose workers were lost too often has an exception.

        Raises:
            ConfigError: Ray cannot be reached.
        """
        ray = _imported()
        begun = not ray.is_initialized()
        if begun:
            _connect(ray, self._arguments["init"])
        try:
            return self._launch(ray, job_overrides, initial_job_idx)
        finally:
            if begun:
                ray.shutdown()

    def _launch(
        self, ray: Any, job_overrides: Sequence[Sequence[str]], first: int
    ) -> list[JobReturn]:
        task = ray.remote(**_given(self._arguments["remote"]))(_run)
        sweep = [ray.put(self._sweep)]  # Ray would read the object itself anew for each job
        jobs = [
            task.remote(sweep, list(overrides), first + place)
            for place, overrides in enumerate(job_overrides)
        ]
        try:
            return [_returned(ray, job, first + place) for place, job in enumerate(jobs)]
        except BaseException:
            for job in jobs:
                with suppress(Exception):
                    ray.cancel(job, force=True)
            raise


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            'hydra/launcher=ray needs more packages: pip install "zsl-lab[ray]".'
        ) from error
    return ray


def _given(arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (arguments or {}).items() if value is not None}


def _connect(ray: Any, arguments: Mapping[str, Any] | None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**_given(arguments))
    except (ConnectionError, ValueError, TypeError, RuntimeError, TimeoutError) as error:
        shown = " ".join(f"{key}={value}" for key, value in _given(arguments).items())
        raise ConfigError(
            f"hydra.launcher.ray.init ({shown}): Ray says: {error}. Expected the address of a "
            "running cluster (`ray start --head` prints it), auto, or null for this machine alone."
        ) from error
    finally:  # Ray sets a handler of its own
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _returned(ray: Any, job: Any, number: int) -> JobReturn:
    """What a job returned, once it has ended."""
    try:
        found: JobReturn = ray.get(job)
    except ray.exceptions.RayTaskError:  # an error of the program; those of a run are in `found`
        raise
    except ray.exceptions.RayError as error:
        lost = TrainingError(
            f"job {number}: Ray has given it up, since its worker was lost too often "
            f"({type(error).__name__}). sweep.resume=true goes on with it; "
            "hydra.launcher.ray.remote.max_retries=N allows more."
        )
        return JobReturn(status=JobStatus.FAILED, _return_value=lost)
    return found


@functools.lru_cache(maxsize=1)
def _received(reference: Any) -> _Sweep:
    """What the jobs have in common, read once by each process of Ray's."""
    sweep: _Sweep = _imported().get(reference)
    return sweep


def _run(references: list[Any], overrides: list[str], number: int) -> JobReturn:
    """Run a job, in a process of Ray's."""
    sweep = _received(references[0])
    os.environ.update(sweep.environment)
    if Path(sweep.folder).is_dir():  # so that relative paths mean what they do to the command
        os.chdir(sweep.folder)
    setup_globals()
    Singleton.set_state(sweep.singletons)
    config = sweep.context.config_loader.load_sweep_config(sweep.config, overrides)
    with open_dict(config):
        config.hydra.job.id = f"{config.hydra.job.name}_{number}"
        config.hydra.job.num = number
    HydraConfig.instance().set_config(config)
    try:
        found = run_job(
            hydra_context=sweep.context,
            task_function=sweep.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except KeyboardInterrupt:
        os._exit(_STOPPED)  # Ray would take the exception for a cancelled job
    # without the configurations, which take longer to send than all else
    return JobReturn(status=found.status, _return_value=found._return_value)
