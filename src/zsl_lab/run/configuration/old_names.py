"""Old names in the ``_target_`` of stored configurations, and the current names."""

from __future__ import annotations

from typing import Any

#: old dotted names of modules and classes, and the current ones
OLD_NAMES = {
    "zsl_lab.data.digits": "zsl_lab.data.datasets.digits",
    "zsl_lab.data.image_folder": "zsl_lab.data.datasets.image_folder",
    "zsl_lab.data.own": "zsl_lab.data.datasets.own",
    "zsl_lab.data.synthetic": "zsl_lab.data.datasets.synthetic",
    "zsl_lab.data.xian": "zsl_lab.data.datasets.xian",
    "zsl_lab.callbacks": "zsl_lab.run.callbacks",
    "zsl_lab.reporting.loggers": "zsl_lab.run.loggers.base",
    "zsl_lab.reporting.metrics_csv": "zsl_lab.run.records.metrics_csv",
    "zsl_lab.reporting.tensorboard_run": "zsl_lab.run.loggers.tensorboard_run",
    "zsl_lab.reporting.wandb_run": "zsl_lab.run.loggers.wandb_run",
    "zsl_lab.resuming": "zsl_lab.run.resuming",
}


def current_target(path: str) -> str:
    """The current dotted name for an old one; any other name is returned as it is."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        moved = OLD_NAMES.get(".".join(parts[:length]))
        if moved is not None:
            return ".".join([moved, *parts[length:]])
    return path


def with_current_targets(node: Any) -> Any:
    """A configuration in plain containers, with the current name in each ``_target_``."""
    if isinstance(node, list):
        return [with_current_targets(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: current_target(value)
        if key == "_target_" and isinstance(value, str)
        else with_current_targets(value)
        for key, value in node.items()
    }
