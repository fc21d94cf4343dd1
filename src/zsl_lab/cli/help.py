"""``python -m zsl_lab --help`` without Hydra, whose import and composition take most of a second.

The text is the one that Hydra would print: the template in ``conf/config.yaml`` with the groups.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from string import Template

#: plugins of Hydra that add no configuration groups of their own
KNOWN_PLUGINS = {
    "hydra_colorlog",
    "hydra_joblib_launcher",
    "hydra_ray_launcher",
    "hydra_submitit_launcher",
}


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether only help is requested, and no installed Hydra plugin may add groups to it."""
    return list(arguments) in (["--help"], ["-h"]) and _plugins() <= KNOWN_PLUGINS


def _plugins() -> set[str]:
    try:
        package = import_module("hydra_plugins")
    except ImportError:
        return set()
    return {module.name for module in pkgutil.iter_modules(package.__path__)}


def help_text() -> str:
    """The help, with every group and its choices."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is not always compiled
    conf = Path(next(iter(import_module("zsl_lab.conf").__path__)))
    choices: dict[str, list[str]] = {}
    for path in sorted(conf.rglob("*.yaml")):
        group = path.parent.relative_to(conf).as_posix()
        # help does not list groups below hydra/
        if path.parent != conf and group.split("/")[0] != "hydra":
            choices.setdefault(group, []).append(path.stem)
    groups = "".join(f"{name}: {', '.join(sorted(choices[name]))}\n" for name in sorted(choices))
    config = yaml.load((conf / "config.yaml").read_text("utf-8"), Loader=loader)
    return Template(config["hydra"]["help"]["template"]).substitute(APP_CONFIG_GROUPS=groups)
