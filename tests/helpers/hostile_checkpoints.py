"""Checkpoints whose configuration tries to run code, and harmless canaries that would show it."""

from __future__ import annotations

import io
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from zsl_lab.files import seal

#: what a hostile file may do here: it only writes or makes this file
CANARY = "canary"


def sealed(content: dict[str, Any]) -> bytes:
    """A checkpoint's bytes, as a run writes them."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return seal.seal(buffer.getvalue())


def calls(folder: Path) -> dict[str, dict[str, Any]]:
    """Nodes of a configuration that would touch the canary if they were instantiated."""
    canary = str(folder / CANARY)
    return {
        "system": {"_target_": "os.system", "command": f"touch {canary}"},
        "write_text": {"_target_": "pathlib.Path.write_text", "_args_": [canary, "x"]},
        "open": {"_target_": "builtins.open", "file": canary, "mode": "w"},
        "exec": {"_target_": "builtins.exec", "_args_": [f"open({canary!r}, 'w')"]},
        "mkdir": {"_target_": "os.mkdir", "path": canary},
        "copy": {"_target_": "shutil.copy", "src": __file__, "dst": canary},
        "run": {"_target_": "subprocess.run", "args": ["touch", canary]},
        "own_function": {
            "_target_": "zsl_lab.files.atomic.atomic_write",
            "path": canary,
            "content": "x",
        },
        "own_callback": {
            "_target_": "zsl_lab.run.callbacks.phase_checkpoint.PhaseCheckpoint",
            "folder": canary,
        },
        "partial": {
            "_target_": "zsl_lab.run.callbacks.progress.ProgressLine",
            "console": {"_target_": "builtins.open", "file": canary, "mode": "w"},
        },
        "args": {
            "_target_": "zsl_lab.run.callbacks.progress.ProgressLine",
            "_args_": [{"_target_": "builtins.open", "_args_": [canary, "w"]}],
        },
        "module": {"_target_": "evil_module.Evil"},
    }


def configurations(good: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Hostile variants of a stored configuration, by a name for each.

    Importing ``evil_module``, which lies in ``folder``, touches the canary too.
    """
    (folder / "evil_module.py").write_text(
        f"open({str(folder / CANARY)!r}, 'w').close()\nclass Evil: pass\n"
    )
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, *changes: tuple[str, Any]) -> None:
        config = deepcopy(good)
        for key, value in changes:
            *sections, last = key.split(".")
            node = config
            for section in sections:
                if not isinstance(node.get(section), dict):
                    node[section] = {}
                node = node[section]
            node[last] = value
        found[name] = config

    for name, node in calls(folder).items():
        add(f"callback_{name}", ("callbacks.x", node))
        add(f"logger_{name}", ("logger.x", node))
        add(f"method_{name}", ("method._target_", node["_target_"]))
        add(f"dataset_{name}", ("dataset._target_", node["_target_"]))
        add(f"nested_{name}", ("method.name", node))
        add(f"trainer_{name}", ("trainer.precision", node))
    for name, text in {
        "environment": "${oc.env:ZSL_LAB_SECRET}",
        "decode": "${oc.decode:'[1,2]'}",
        "reference": "${method.name}",
        "hydra": "${hydra:runtime.cwd}",
        "nested": "${oc.env:${oc.env:ZSL_LAB_SECRET}}",
        "create": "${oc.create:{a:1}}",
    }.items():
        add(f"value_{name}", ("method.name", text))
        add(f"path_{name}", ("paths.output_dir", text))
        add(f"extra_{name}", ("logger.wandb.project", text))
    bomb: dict[str, Any] = {"a0": "x" * 10}
    bomb |= {f"a{i}": f"${{paths.a{i - 1}}}" * 10 for i in range(1, 40)}
    add("interpolation_bomb", ("paths", {**good["paths"], **bomb}))
    add("key", ("paths.${oc.env:ZSL_LAB_SECRET}", 1))
    add("list_of_nodes", ("callbacks", [{"_target_": "os.mkdir", "path": str(folder / CANARY)}]))
    add("text_target", ("method", "os.system"))
    add("number_target", ("method._target_", 5))
    add("hydra_section", ("hydra.callbacks.x", calls(folder)["mkdir"]))
    add("package_main", ("method._target_", "zsl_lab.__main__.main"))
    add("module_of_a_module", ("method._target_", "zsl_lab.run.config.import_module"))
    return found
