from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from zsl_lab.console.progress import Progress, Unit

STEPS, MB = Unit("steps"), Unit("MB", 10**6)
Clock = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets the time in seconds."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def screen(width: int | None = None) -> Console:
    """A terminal of a width; None for a file."""
    return Console(
        file=io.StringIO(), force_terminal=width is not None, width=width or 80, color_system=None
    )


def shown(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


@pytest.mark.parametrize(
    ("unit", "rate", "left", "text"),
    [
        (STEPS, 512.3, 3000, "512 steps/s, 6 s left"),
        (STEPS, 0.25, 600, "0.25 steps/s, 40 min left"),
        (STEPS, 2.0, 36000, "2 steps/s, 5.0 h left"),
        (STEPS, 100.0, 0, "100 steps/s"),
        (STEPS, 1234.0, None, "1,234 steps/s"),
        (MB, 25e6, 880e6, "25 MB/s, 35 s left"),
        (MB, 1.5e5, 3e6, "0.15 MB/s, 20 s left"),
    ],
)
def test_a_pace_is_the_rate_and_the_time_left(
    unit: Unit, rate: float, left: float | None, text: str
) -> None:
    assert unit.pace(rate, left) == text


def test_without_a_terminal_a_line_is_printed_now_and_then(clock: Clock) -> None:
    console = screen()
    with Progress(MB, console=console) as bar:
        for seconds, have in ((0, 100), (4, 140), (11, 160), (12, 170), (22, 320)):
            clock(seconds)
            bar.update(have * 10**6, 880 * 10**6)
    assert shown(console) == [
        "  160 of 880 MB, 5.5 MB/s, 2 min left",
        "  320 of 880 MB, 10 MB/s, 56 s left",
    ]


def test_what_was_done_before_does_not_count_for_the_rate(clock: Clock) -> None:
    bar = Progress(STEPS, 1000, screen())
    bar.start(600)
    clock(10)
    bar.update(700)
    assert bar.pace() == "10 steps/s, 30 s left"


def test_a_task_that_begins_anew_is_measured_anew(clock: Clock) -> None:
    bar = Progress(MB, console=screen())
    for seconds, have in ((0, 0), (10, 500), (11, 100), (13, 140)):
        clock(seconds)
        bar.update(have * 10**6)
    assert bar.pace() == "20 MB/s"


def test_the_time_left_may_include_what_follows_the_task(clock: Clock) -> None:
    bar = Progress(STEPS, 100, screen())
    bar.start()
    clock(5)
    bar.update(50, left=250)
    assert bar.pace(250) == "10 steps/s, 25 s left"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_terminal_shows_a_bar_with_counts_pace_and_note_within_its_width(
    clock: Clock, width: int
) -> None:
    console, rooms = screen(width), []

    def note(room: int | None) -> str:
        rooms.append(room)
        assert room is not None
        return "x" * room

    with Progress(STEPS, 1000, console) as bar:
        bar.start()
        clock(1)
        bar.update(250, note=note)
        clock(1.1)
        bar.update(251, note=note)  # too soon
        clock(4)
    lines = shown(console)
    assert max(map(len, lines)) <= width
    assert len(rooms) == 1
    assert any(re.search(r"  250/1000 250 steps/s, 3 s left +x+$", line) for line in lines)
    assert " 251/1000 " in lines[-1]  # the last state stays


def test_a_bar_of_bytes_names_the_unit(clock: Clock) -> None:
    console = screen(80)
    with Progress(MB, console=console) as bar:
        bar.update(0)
        clock(2)
        bar.update(50 * 10**6)
        clock(4)
        bar.update(100 * 10**6, 400 * 10**6)
    lines = shown(console)
    assert any("50/? MB 25 MB/s" in line for line in lines)
    assert "100/400 MB 25 MB/s, 12 s left" in lines[-1]


def test_it_is_drawn_on_standard_error() -> None:
    assert Progress(STEPS)._console.stderr
