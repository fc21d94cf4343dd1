"""Which images a part has, and how the command line names it."""

from __future__ import annotations

import pytest

from zsl_lab.errors import ConfigError
from zsl_lab.extraction.kept import blocks
from zsl_lab.extraction.kept.parts import Part, parse_part


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "3/", "a/b", "-1/3"])
def test_a_part_is_a_number_and_a_count(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected the part's number, from 1"):
        parse_part(text, {})


def array(task: int, least: int, most: int, count: int) -> dict[str, str]:
    values = {"ID": task, "MIN": least, "MAX": most, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_a_task_of_slurm_is_a_part_of_its_array() -> None:
    assert parse_part("slurm", array(1, 1, 8, 8)) == Part(1, 8)
    assert parse_part("slurm", array(7, 0, 7, 8)) == Part(8, 8)


def test_outside_a_whole_array_the_part_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"found no number in SLURM_ARRAY_TASK_ID, SLURM_ARRAY"):
        parse_part("slurm", {})
    for some in (array(3, 3, 5, 2), array(3, 3, 4, 2), array(1, 1, 1, 1)):
        with pytest.raises(ConfigError, match=r"expected a whole array .* \$SLURM_ARRAY_TASK_ID/8"):
            parse_part("slurm", some)


def test_the_blocks_of_all_parts_are_each_block_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 3)
    for count in (1, 2, 5, 9):
        found = [block for n in range(count) for block in Part(n + 1, count).blocks(20)]
        assert found == list(range(7))
