"""A trained model to share: its files, written to a folder or pushed to the Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsl_lab.errors import OutputError
from zsl_lab.files.atomic import atomic_write_all
from zsl_lab.result import Result
from zsl_lab.sharing import hub, model_card, saved_model
from zsl_lab.sharing.model_card import CARD_FILE
from zsl_lab.sharing.saved_model import LIBRARY

#: a card's metadata end before this many characters
_HEAD = 2000


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A trained model.

    Attributes:
        content: Content of its checkpoint: ``zsl_lab``, ``method_state``, ``state_dict``,
            ``classifier``.
        data: The state of its data module.
        places: Dotted keys of the configuration that name a file.
        result: The result of its run; None if it is not known.
    """

    content: Mapping[str, Any]
    data: Mapping[str, Any]
    places: frozenset[str]
    result: Result | None

    def save(self, folder: Path, source: str | None = None) -> Path:
        """Write ``model.safetensors``, ``config.json`` and the model card: all, or none.

        Args:
            folder: Created if it is missing; earlier files of a model are replaced.
            source: The argument of ``zsl_lab.load`` in the card's example; None for the folder's
                name.

        Raises:
            OutputError: It cannot be written, or holds a README.md of something else.
            ConfigError: The package safetensors is not installed.
        """
        _check_card(folder / CARD_FILE)
        config = saved_model.facts(self.content, self.data, self.places, self.result)
        tensors = saved_model.tensors(self.content, self.data)
        card = model_card.render(config, source or folder.absolute().name)
        contents = {
            **saved_model.contents(config, tensors),
            CARD_FILE: card.encode(errors="backslashreplace"),
        }
        atomic_write_all({folder / name: content for name, content in contents.items()})
        return folder

    def push(self, repository: str, **options: Any) -> str:
        """Upload the files of :meth:`save`; see :func:`zsl_lab.sharing.hub.upload`."""
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder), f"{hub.PREFIX}{repository}")
            return hub.upload(Path(folder), repository, **options)


def _check_card(path: Path) -> None:
    """Raise OutputError where a README.md is no model card of this project."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        if f"library_name: {LIBRARY}" in file.read(_HEAD):
            return
    raise OutputError(
        f"{path}: this README.md is no model card of {LIBRARY}, and save_pretrained would replace "
        "it. Name an empty folder, or move that file away."
    )
