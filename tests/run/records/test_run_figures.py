from __future__ import annotations

from typing import Any

import numpy as np

from zsl_lab.plots import figures
from zsl_lab.run.records.run_figures import _most_confused


def test_of_very_many_classes_those_with_most_errors_from_or_to_them_are_shown(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(figures, "MAX_CONFUSED_SHOWN", 2)
    true = np.array([0, 0, 1, 2, 3, 3, 5])
    guessed = np.array([0, 4, 4, 4, 3, 1, 5])
    # errors: 0 and 2 one each, 1 two, 3 one, 4 three
    assert _most_confused(true, guessed, 6).tolist() == [1, 4]
