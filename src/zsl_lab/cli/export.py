"""``zsl-lab export``: a trained method as a folder to share, an ONNX file, a model on the Hub."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zsl_lab.console.messages import console, say, show_warning
from zsl_lab.console.parsers import Parser
from zsl_lab.errors import ConfigError, ZslLabError, exit_code

if TYPE_CHECKING:
    import argparse

    from zsl_lab.predict.predictor import Predictor

PROG = "python -m zsl_lab export"
ONNX_FILE = "model.onnx"
_DESCRIPTION = """\
Writes a trained method for others, without pickle and without paths of this machine.

RUN  a finished run's folder, its checkpoints/best.ckpt, a folder that this command wrote, or
     hf-hub:USER/NAME
DIR  gets model.safetensors, config.json and README.md, a model card; zsl_lab.load(DIR) and
     task=predict ckpt=DIR read it
"""
_EPILOG = f"""\
examples:
  {PROG} outputs/runs/RUN my_model                 the folder
  {PROG} outputs/runs/RUN my_model --onnx          and my_model/{ONNX_FILE}, for the run's classes
  {PROG} RUN my_model --onnx --among unseen        scores of the unseen classes only
  {PROG} RUN my_model --onnx --classes new.csv     scores of new classes
  {PROG} RUN my_model --push USER/NAME --private   and to the Hugging Face Hub

safetensors and the Hub: pip install "zsl-lab[hub]"; ONNX: pip install "zsl-lab[onnx]".
The ONNX file takes unscaled features, float32 [N, D], and gives scores [N, K]; the names of the
classes are in its metadata (classes).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line; None for that of the process.

    Returns:
        The exit code: 0 for success, 1 for a failure, 2 for a wrong command.
    """
    warnings.showwarning = show_warning
    try:
        options = _parse(sys.argv[1:] if arguments is None else arguments)
        _export(options)
    except ZslLabError as error:
        say(str(error))
        return exit_code(error)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROG, _DESCRIPTION, _EPILOG)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--onnx", action="store_true", help=f"write DIR/{ONNX_FILE} too")
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="with --onnx: a table of new classes to score, as classes= of task=predict",
    )
    parser.add_argument(
        "--among",
        choices=("all", "unseen", "new"),
        help="with --onnx: the classes to score; default: new with --classes, else all",
    )
    parser.add_argument("--push", metavar="USER/NAME", help="upload it to the Hugging Face Hub too")
    parser.add_argument(
        "--private", action="store_true", help="with --push: a new repository is private"
    )
    options = parser.parse(arguments)
    for name in ("classes", "among"):
        if getattr(options, name) and not options.onnx:
            raise ConfigError(
                f"--{name} {getattr(options, name)}: it chooses the classes of an ONNX file; add "
                f"--onnx, or leave --{name} out."
            )
    if options.private and not options.push:
        raise ConfigError("--private: it belongs to --push USER/NAME. Add that, or leave it out.")
    return options


def _export(options: argparse.Namespace) -> None:
    from zsl_lab import load  # it imports PyTorch

    model: Predictor = load(options.run)
    folder = model.save_pretrained(options.folder)
    out = console()
    out.print(f"model:     {folder} (method={model.method}, {model.dataset})", soft_wrap=True)
    if options.onnx:
        path = model.export_onnx(folder / ONNX_FILE, options.classes, options.among)
        out.print(f"onnx:      {path}", soft_wrap=True)
    if options.push:
        url = model.push_to_hub(options.push, private=options.private or None)
        out.print(f"pushed to: {url}", soft_wrap=True)
    out.print(f"load it:   zsl_lab.load({str(folder)!r})", soft_wrap=True)
