"""Names that stored configurations give by ``_target_``, and that have moved since."""

from __future__ import annotations

from typing import Any

#: dotted names of modules and classes, as they were, and where they are
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
    """The present dotted name of what a stored configuration names by an old one."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        moved = OLD_NAMES.get(".".join(parts[:length]))
        if moved is not None:
            return ".".join([moved, *parts[length:]])
    return path


def with_current_targets(node: Any) -> Any:
    """A configuration in plain containers, with the present name in each ``_target_``."""
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
