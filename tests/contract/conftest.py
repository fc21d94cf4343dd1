"""The methods of tests/contract/examples, as a user's package and folder of yamls."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.conftest import ENTRIES, METHODS, SHORT_FIT, Finished, composed
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.run.config import parse

EXAMPLES = Path(__file__).parent / "examples"
OWN = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
EVERY_METHOD = [*METHODS, *OWN]
#: for what a method's class decides: variants, which have the class of another method, left out
EVERY_CLASS = [*(name for name in METHODS if not ENTRIES[name].variant), *OWN]


def of_dataset(method: str) -> list[str]:
    """The overrides of a method's short run that choose its data."""
    return [override for override in SHORT_FIT.get(method, ()) if override.startswith("dataset.")]


Overrides = Callable[[str], tuple[str, ...]]
ShortRun = Callable[[str], Path]


@pytest.fixture(scope="session")
def own_conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of yamls beside a package ``my_package``, which can be imported."""
    place = tmp_path_factory.mktemp("own")
    package, conf = place / "my_package", place / "conf"
    package.mkdir()
    (package / "__init__.py").touch()
    (conf / "method").mkdir(parents=True)
    digits = parse(composed(place)).dataset.load(DataPaths(place, place))
    shape = (digits.semantics.shape[1], digits.features.shape[1])
    np.save(place / "matrix.npy", np.zeros(shape, np.float32))
    for name in OWN:
        shutil.copy(EXAMPLES / f"{name}.py", package)
        text = (EXAMPLES / f"{name}.yaml").read_text()
        text = text.replace("matrix: null", f"matrix: {place / 'matrix.npy'}")
        (conf / "method" / f"{name}.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        yield conf


@pytest.fixture(scope="session")
def overrides(own_conf: Path) -> Overrides:
    """The overrides of a method's short run, which choose the method."""

    def overrides(method: str) -> tuple[str, ...]:
        if method in METHODS:
            return (f"method={method}", *SHORT_FIT[method])
        short = OmegaConf.load(own_conf / "method" / f"{method}.yaml").short
        found = f"hydra.searchpath=[file://{own_conf}]"
        values = (f"{key}={value}" for key, value in short.items())
        return (found, f"method={method}", "callbacks=none", *values)

    return overrides


@pytest.fixture(scope="session")
def fitted(finished: Finished, overrides: Overrides) -> ShortRun:
    """The folder of a finished short run of any method; shared, so do not change it."""
    return lambda method: finished(*overrides(method))
