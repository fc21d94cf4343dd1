"""Import paths of classes that moved, as older configurations and checkpoints name them."""

from __future__ import annotations

from typing import Any

#: old import path → present import path, of every class that a stored ``_target_`` may name
MOVED = {
    "zsl_lab.callbacks.progress.ProgressLine": "zsl_lab.run.callbacks.progress.ProgressLine",
    "zsl_lab.data.digits.DigitsDataset": "zsl_lab.data.datasets.digits.DigitsDataset",
    "zsl_lab.data.image_folder.ImageFolderDataset": (
        "zsl_lab.data.datasets.image_folder.ImageFolderDataset"
    ),
    "zsl_lab.data.own.OwnDataset": "zsl_lab.data.datasets.own.OwnDataset",
    "zsl_lab.data.synthetic.SyntheticDataset": "zsl_lab.data.datasets.synthetic.SyntheticDataset",
    "zsl_lab.data.xian.XianDataset": "zsl_lab.data.datasets.xian.XianDataset",
    "zsl_lab.reporting.metrics_csv.MetricsCSV": "zsl_lab.run.records.metrics_csv.MetricsCSV",
    "zsl_lab.reporting.tensorboard_run.TensorBoardRun": (
        "zsl_lab.run.loggers.tensorboard_run.TensorBoardRun"
    ),
    "zsl_lab.reporting.wandb_run.WandbRun": "zsl_lab.run.loggers.wandb_run.WandbRun",
    "zsl_lab.resuming.ResumeCallback": "zsl_lab.run.resuming.ResumeCallback",
    "zsl_lab.sweep.SweepCallback": "zsl_lab.sweep.sweep.SweepCallback",
}


def current_target(path: str) -> str:
    """The present import path of a class; the path itself where the class has not moved."""
    return MOVED.get(path, path)


def with_current_targets(config: Any) -> Any:
    """A copy of plain containers in which every ``_target_`` is a present import path."""
    if isinstance(config, dict):
        return {
            key: current_target(value)
            if key == "_target_" and isinstance(value, str)
            else with_current_targets(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [with_current_targets(value) for value in config]
    return config
