"""Errors of the system, as sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from zsl_lab.errors import output_error


@pytest.mark.parametrize("below", ["", "x/y"])
def test_a_file_where_a_folder_is_to_be_made_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((FileExistsError, NotADirectoryError)) as raised:
        (tmp_path / "file" / below).mkdir(parents=True)
    found = str(output_error(raised.value, "paths.output_dir"))
    assert "there is a file where a folder is to be made" in found
    assert "Set paths.output_dir to another folder, or move the file away." in found
