"""Configurations of jobs are those that Hydra composes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from tests.helpers import quick
from zsl_lab.sweep import composition
from zsl_lab.sweep.sweep import _BASIC


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    """Hydra itself composes what is compared with."""
    with quick.hydra_itself():
        yield


@pytest.fixture(scope="module")
def composed() -> Iterator[DictConfig]:
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        yield compose("config", ["method=mmvae"], return_hydra_config=True)


def loader() -> ConfigLoaderImpl:
    found = GlobalHydra.instance().config_loader()
    assert isinstance(found, ConfigLoaderImpl)
    return found


JOBS = [
    ["seed=3"],
    ["method=sgal", "method.g=0.5", "seed=1"],
    ["seed=1", "method=sgal", "method.g=0.9"],
    ["method.g=0.25", "method=sgal"],
    ["method=eszsl", "dataset=flo", "dataset.features=mine", "settings=none"],
    ["+method.more=[1,2]", "++seed=7", "method.encoder_hidden=[3]"],
    ["data={check: strict}", "method.steps=2"],
    ["~method.short", "seed=1"],
]


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS, ids=" ".join)
def test_a_job_is_composed_as_by_hydra(composed: DictConfig, job: list[str]) -> None:
    found = composition.load_sweep_config(loader(), composed, job)
    expected = composition._COMPOSE(loader(), composed, job)
    assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
    assert OmegaConf.is_struct(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "job", [["method.lr=1"], ["method=sgl"], ["+seed=1"], ["method=dap", "method.g=1"]]
)
def test_an_error_is_hydras(composed: DictConfig, job: list[str]) -> None:
    with pytest.raises(HydraException) as expected:
        composition._COMPOSE(loader(), composed, job)
    with pytest.raises(HydraException) as found:
        composition.load_sweep_config(loader(), composed, job)
    assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))


def test_jobs_do_not_share_what_they_change(composed: DictConfig) -> None:
    first = composition.load_sweep_config(loader(), composed, ["seed=1"])
    before = OmegaConf.to_yaml(first)
    second = composition.load_sweep_config(loader(), composed, ["seed=2"])
    second.method.encoder_hidden.append(5)
    assert OmegaConf.to_yaml(first) == before


@pytest.mark.slow
def test_files_are_read_once_for_jobs_that_differ_in_values(
    composed: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    original = composition._COMPOSE

    def counting(self: ConfigLoaderImpl, master: DictConfig, job: list[str]) -> DictConfig:
        read.append(job)
        return original(self, master, job)

    monkeypatch.setattr(composition, "_COMPOSE", counting)
    composition.forget()
    for method in ("mmvae", "sgal"):
        for seed in range(3):
            composition.load_sweep_config(loader(), composed, [f"method={method}", f"seed={seed}"])
    assert read == [["method=mmvae"], ["method=sgal"]]


def test_of_jobs_that_differ_in_values_one_is_composed_before_the_first(
    composed: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    monkeypatch.setattr(
        ConfigLoaderImpl, "load_sweep_config", lambda self, config, job: found.append(job)
    )
    composition.install_in_sweeper()
    made: Any = Plugins.instance().class_name_to_class[_BASIC]
    sweeper = made(max_batch_size=None)
    sweeper.config = composed
    sweeper.hydra_context = HydraContext(loader(), Callbacks())
    methods = [f"method={name}" for name in ("sgal", "mmvae")]
    jobs = [[method, f"seed={seed}"] for method in methods for seed in range(3)]
    sweeper.validate_batch_is_legal([*jobs, ["method=mmvae", "+more=1"]])
    assert found == [jobs[0], jobs[3], ["method=mmvae", "+more=1"]]
