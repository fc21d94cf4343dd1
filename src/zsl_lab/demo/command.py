"""``python -m zsl_lab.demo RUN``: a page on this machine to try a trained method."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zsl_lab.console.messages import console, say
from zsl_lab.console.parsers import Parser
from zsl_lab.errors import ConfigError, ZslLabError, exit_code
from zsl_lab.sharing.packages import required

PROG = "python -m zsl_lab.demo"
HOST = "127.0.0.1"
_DESCRIPTION = """\
Opens a page in the browser: drop a picture, choose a test sample or upload features; edit the table
of classes; see the scores as bars. It is served on this machine only, and nothing leaves it.

RUN  a finished run's folder, its checkpoints/best.ckpt, a folder of save_pretrained, or
     hf-hub:USER/NAME
"""
_EPILOG = f"""\
examples:
  {PROG} outputs/runs/RUN
  {PROG} outputs/runs/RUN --data-dir DIR        test samples of DIR/<DATASET>
  {PROG} outputs/runs/RUN --weights FILE        weights of the network that extracts features
  {PROG} outputs/runs/RUN --port 8000 --no-browser

It needs gradio: pip install "zsl-lab[demo]". Stop it with Ctrl+C.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until it is interrupted.

    Args:
        arguments: The command line; None takes that of the process.

    Returns:
        The exit code: 0, 1 where something could not be done, 2 for a wrong command.
    """
    parser = Parser(PROG, _DESCRIPTION, _EPILOG)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="folder of the benchmark")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        type=Path,
        help="weights of the network that extracts features from a picture",
    )
    parser.add_argument(
        "--port", type=int, help="the port; default: the first free one from 7860 on"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    try:
        options = parser.parse(sys.argv[1:] if arguments is None else arguments)
        if options.port is not None and not 1 <= options.port < 2**16:
            raise ConfigError(f"--port {options.port}: expected a number from 1 to 65535.")
        page = make(options.run, options.weights, options.data_dir)
        url = serve(page, options.port)
    except ZslLabError as error:
        say(str(error))
        return exit_code(error)
    console().print(f"{url}  (Ctrl+C ends it)", soft_wrap=True)
    if not options.no_browser:
        import webbrowser

        webbrowser.open(url)
    page.block_thread()
    return 0


def make(run: str, weights: Path | None = None, data_dir: Path | None = None) -> Any:
    """The page of a trained method, not served yet.

    Args:
        run: See :func:`zsl_lab.load`.
        weights: The file of the weights of the network that extracts features; None for the one
            that the recipe names.
        data_dir: Folder of the benchmark; None for that of the run's configuration.

    Raises:
        ZslLabError: The method cannot be loaded, or gradio is not installed.
    """
    # read when gradio is imported
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    required("gradio", "demo", PROG)

    from zsl_lab import load
    from zsl_lab.demo.page import build
    from zsl_lab.demo.session import Session

    return build(Session(load(run), weights, data_dir))


def serve(page: Any, port: int | None = None) -> str:
    """Serve a page on this machine only; returns its address.

    Args:
        page: The page that :func:`make` returned.
        port: None for the first free one from 7860 on.

    Raises:
        ConfigError: The port is not free.
    """
    gradio = required("gradio", "demo", PROG)
    from zsl_lab.demo.page import CSS

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    try:
        _, url, _ = page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
            css=CSS,
            # the usual theme loads fonts from elsewhere
            theme=gradio.themes.Base(**fonts),
            max_file_size="200mb",
        )
    except OSError as error:
        raise ConfigError(f"--port {port}: {error}. Give another, or leave --port out.") from error
    return str(url)
