"""Weights & Biases: one W&B run per run, with files in the run's folder, continued on resuming.

The package is imported by :meth:`WandbRun.start`, that is, only where ``logger=wandb`` chose it.
"""

from __future__ import annotations

import os
import secrets
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from zsl_lab.console.messages import console
from zsl_lab.errors import ConfigError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.keys import checked
from zsl_lab.result import Result, git_commit
from zsl_lab.run.loggers.base import RunFacts, RunLogger, metrics_of, number, replay

FOLDER = "wandb"
#: holds the W&B run's id, for resuming
ID_FILE = "run_id"
PHASES = ("select", "refit")
Mode = Literal["online", "offline", "shared", "disabled"]


class WandbConfig(BaseModel):
    """The keys of ``conf/logger/wandb.yaml``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    project: str
    entity: str | None
    group: str | None
    name: str | None
    checkpoint: bool


class WandbRun(WandbLogger, RunLogger):
    """Records configuration, metrics, result, recalls, figures and, if asked, the checkpoint."""

    def __init__(self, facts: RunFacts, options: WandbConfig, run: Any) -> None:
        super().__init__(save_dir=facts.folder, project=options.project, experiment=run)
        self._facts = facts
        self._options = options
        self._stopped = False

    @classmethod
    def start(cls, facts: RunFacts, options: Mapping[str, Any]) -> WandbRun:
        """Start the W&B run, or resume it.

        Args:
            facts: The run.
            options: See :class:`WandbConfig`.

        Raises:
            ConfigError: An option is wrong, ``WANDB_MODE=online`` lacks a key, or W&B cannot start.
            OutputError: The run's folder cannot be written.
        """
        config = checked(WandbConfig, options, "logger.wandb")
        run_id, known = _run_id(facts)
        commit = git_commit()
        try:
            run = _start(facts, config, run_id, commit)
        except ConfigError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"logger=wandb: W&B cannot start this run ({reason}). Set WANDB_MODE=offline to "
                "record it without a connection, or choose logger=csv."
            ) from error
        # each phase counts its steps from the beginning
        for phase in PHASES:
            run.define_metric(f"{phase}/step", hidden=True)
            run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
        logger = cls(facts, config, run)
        logger.log_hyperparams({**facts.config, "git_commit": commit})
        if facts.resumed and not known:
            replay(logger, facts.folder)
        return logger

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row of ``<phase>/<name>`` values; after an error of W&B warn, and log no more."""
        if self._stopped:
            return
        phases = {name.partition("/")[0] for name in metrics}
        steps = {f"{phase}/step": step for phase in phases}
        try:
            self.experiment.log({**metrics, **steps})
        except Exception as error:
            self._stopped = True
            warnings.warn(
                f"W&B stops recording this run ({error}). The run goes on; metrics.csv has "
                "every metric.",
                stacklevel=2,
            )

    def log_result(self, result: Result) -> None:
        """Log metrics as summary, recalls as a table, the figures and, if asked, the checkpoint."""
        with _staging(self._facts.folder / FOLDER):
            self._log_result(result)

    def _log_result(self, result: Result) -> None:
        import wandb

        run, folder = self.experiment, self._facts.folder
        # a row of its own: W&B sweeps read their metric from logged rows, and so does the summary
        run.log(
            {
                **metrics_of(result),
                **{
                    f"training/{key}": result.training[key]
                    for key in ("steps", "seconds", "steps_per_second")
                },
            }
        )
        recalls = [
            [name, group, number(recall)]
            for group, found in result.per_class.items()
            for name, recall in found.items()
        ]
        run.log({"per_class": wandb.Table(columns=["class", "group", "recall"], data=recalls)})
        pictures = {
            f"figures/{path.stem}": wandb.Image(str(path))
            for path in sorted((folder / "figures").glob("*.png"))
        }
        if pictures:
            run.log(pictures)
        if self._options.checkpoint and result.checkpoint is not None:
            artifact = wandb.Artifact(
                f"{result.method}_{result.dataset}_{run.id}",
                type="model",
                metadata={"metrics": result.metrics},
            )
            # not copied: the run's folder keeps the file as it is
            artifact.add_file(
                result.checkpoint, name="best.ckpt", policy="immutable", skip_cache=True
            )
            run.log_artifact(artifact)

    def finish(self, *, failed: bool) -> None:
        """End the W&B run, marked as failed if the run failed."""
        self.experiment.finish(exit_code=1 if failed else 0)


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Let W&B keep files to upload in the run's folder, instead of the user's data folder."""
    name = "WANDB_DATA_DIR"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(folder.absolute())
    try:
        yield
    finally:
        del os.environ[name]


def _start(facts: RunFacts, options: WandbConfig, run_id: str, commit: str | None) -> Any:
    import wandb

    mode, why = _mode()
    method, dataset, sweep = (
        facts.config["method"]["name"],
        facts.config["dataset"]["name"],
        facts.sweep,
    )
    classifier = facts.config.get("classifier", {}).get("name", "own")
    learner = method if classifier == "own" else f"{method}_{classifier}"
    run = wandb.init(
        project=options.project,
        entity=options.entity,
        group=options.group or sweep,
        name=options.name
        or facts.job
        or (facts.folder.name if sweep else f"{learner}_{dataset}_seed{facts.config['seed']}"),
        job_type=method,
        tags=[method, dataset, facts.config["selection"]["name"], *{classifier} - {"own"}],
        dir=facts.folder,
        id=run_id,
        resume="allow",
        mode=mode,
        # a W&B run of its own, whatever other W&B run this process has open
        reinit="create_new",
        # the commit of the code, not of the working folder
        settings=wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            git_commit=commit and commit.removesuffix("-dirty"),
        ),
    )
    upload = (
        f" Upload it with: wandb sync {shlex.quote(str(facts.folder / FOLDER))}"
        if mode == "offline"
        else ""
    )
    _say(f"W&B: {why}{upload}" if why else f"W&B: {run.url}")
    return run


def _mode() -> tuple[Mode, str]:
    """The mode to start in, and why it is offline ("" if online); never asks for an API key."""
    import wandb

    # silent: otherwise a login asks the server for the user's name, to print it
    settings = wandb.setup(settings=wandb.Settings(silent=True)).settings
    chosen = os.environ.get("WANDB_MODE") or settings.mode
    if chosen in ("offline", "dryrun"):
        return "offline", "this run is recorded offline, as WANDB_MODE or `wandb offline` says."
    if chosen == "disabled":
        return "disabled", "nothing is recorded, as WANDB_MODE says."
    if wandb.login(prompt=False, verify=False):  # wandb.init verifies it
        return ("shared" if chosen == "shared" else "online"), ""
    if "WANDB_MODE" in os.environ:
        raise ConfigError(
            f"WANDB_MODE={chosen}: there is no API key for {settings.base_url}. Set WANDB_API_KEY "
            "or run `wandb login`, or leave WANDB_MODE out to record offline."
        )
    return (
        "offline",
        "no API key (WANDB_API_KEY, or `wandb login`), so this run is recorded offline.",
    )


def _run_id(facts: RunFacts) -> tuple[str, bool]:
    """The W&B run's id, and whether it is that of the resumed run; a new one is stored."""
    path = facts.folder / FOLDER / ID_FILE
    if path.is_file() and facts.resumed:
        return path.read_text(encoding="utf-8").strip(), True
    # the agent of a W&B sweep sets the id of its run; in a sweep of this project one variable would
    # join all jobs
    given = None if facts.sweep else os.environ.get("WANDB_RUN_ID")
    run_id = given or secrets.token_hex(4)
    atomic_write(path, run_id.encode())
    return run_id, False


def _say(sentence: str) -> None:
    console(stderr=True).print(sentence, soft_wrap=True)
