"""Search spaces: which keys are varied, and between which values.

A yaml of ``conf/search`` has a line for each key::

    method.learning_rate: {low: 1.0e-4, high: 3.0e-3, log: true}
    method.latent_dim: {low: 16, high: 256, log: true}       # whole numbers: an integer
    method.encoder_hidden: [[256], [512], [1024]]            # one of these
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zsl_lab.errors import ConfigError, nearest
from zsl_lab.run.config import parse
from zsl_lab.run.configuration.settings_files import WHERE_NULL, merged_yaml
from zsl_lab.run.configuration.stored_config import config_folders

if TYPE_CHECKING:
    from optuna import Trial

#: the configuration group of search spaces
GROUP = "search"
#: sections that may be searched
_SECTIONS = ("method", "dataset", "selection")


class Interval(BaseModel):
    """Numbers between two bounds, both included; integers where both bounds are.

    Attributes:
        low: The lower bound.
        high: The upper bound.
        log: Whether numbers are drawn evenly on a logarithmic scale.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    low: int | float = Field(allow_inf_nan=False)
    high: int | float = Field(allow_inf_nan=False)
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if not self.low < self.high:
            raise ValueError(f"low={self.low} is not below high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log=true needs low above 0, found {self.low}")
        return self

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Space:
    """The keys that are varied.

    Attributes:
        path: The file.
        keys: Of each dotted key an interval, or the list of its values.
    """

    path: Path
    keys: Mapping[str, Interval | list[Any]]

    def plain(self) -> dict[str, Any]:
        """Plain containers, for comparison and storage."""
        return {
            key: domain.model_dump() if isinstance(domain, Interval) else domain
            for key, domain in self.keys.items()
        }

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Values of all keys for a trial."""
        values: dict[str, Any] = {}
        for key, domain in self.keys.items():
            if not isinstance(domain, Interval):
                values[key] = json.loads(trial.suggest_categorical(key, _texts(domain)))
            elif domain.is_integer:
                low, high = int(domain.low), int(domain.high)
                values[key] = trial.suggest_int(key, low, high, log=domain.log)
            else:
                values[key] = trial.suggest_float(key, domain.low, domain.high, log=domain.log)
        return values

    def present(self, cfg: DictConfig) -> dict[str, Any] | None:
        """The trial parameters for the values of a configuration; None if one is outside the space.

        Args:
            cfg: A composed configuration.
        """
        found: dict[str, Any] = {}
        for key, domain in self.keys.items():
            node = OmegaConf.select(cfg, key)
            value = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
            if not isinstance(domain, Interval):
                if value not in domain:
                    return None
                found[key] = json.dumps(value)
                continue
            if not isinstance(value, int | float) or not domain.low <= value <= domain.high:
                return None
            found[key] = value
        return found


def _texts(values: list[Any]) -> list[str]:
    # Optuna's choices are texts or numbers, and a value may be a list
    return [json.dumps(value) for value in values]


def of_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of keys that a stored trial's parameters stand for."""
    return {
        key: json.loads(value) if isinstance(value, str) else value
        for key, value in parameters.items()
    }


def read(method: str, path: Path | None = None) -> Space:
    """The search space of a method.

    Args:
        method: A choice of ``method=``.
        path: Another file; None for ``conf/search/<method>.yaml``.

    Raises:
        ConfigError: There is none, or a line of it is wrong.
    """
    found = path or _of_method(method)
    try:
        plain = merged_yaml(found)
    except Exception as error:  # the parser's errors share no narrower base
        brief = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"space={found}: it cannot be read ({brief}); expected a yaml as in conf/search."
        ) from error
    if not plain:
        raise ConfigError(f"space={found}: it names no key; expected a yaml as in conf/search.")
    return Space(found, {key: _domain(found, key, value) for key, value in plain.items()})


def _of_method(method: str) -> Path:
    folders = config_folders(GROUP)
    for folder in folders:
        if (folder / f"{method}.yaml").is_file():
            return folder / f"{method}.yaml"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    raise ConfigError(
        f"method={method}: there is no search space for it (conf/search/{method}.yaml). Give one: "
        f"space=FILE.yaml. Methods that have one: {', '.join(known)}."
    )


def _domain(path: Path, key: Any, value: Any) -> Interval | list[Any]:
    if isinstance(value, list) and value:
        return value
    if isinstance(value, dict):
        try:
            return Interval.model_validate(value)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join([str(key), *map(str, problem["loc"][:1])])
            raise ConfigError(f"space={path}: {where}: {problem['msg']}. {_EXPECTED}") from error
    raise ConfigError(f"space={path}: {key}: found {value!r:.80}. {_EXPECTED}")


_EXPECTED = "Expected {low: NUMBER, high: NUMBER, log: true|false}, or a list of values."


# --------------------------------------------------------------------------- use


def with_values(cfg: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """A copy of a composed configuration with other values; ``cfg`` stays as it is.

    If a key has an effect only where another one is null, the other one is set to null.
    """
    changed: DictConfig = pickle.loads(pickle.dumps(cfg))  # several times as fast as a deep copy
    OmegaConf.set_struct(changed, False)
    nulls = {WHERE_NULL[key]: None for key in values if key in WHERE_NULL}
    for key, value in {**nulls, **values}.items():
        OmegaConf.update(changed, key, value, merge=False)
    return changed


def check(space: Space, cfg: DictConfig) -> None:
    """Check a space against the configuration that it varies.

    Raises:
        ConfigError: A key is unknown or is not to be searched, or a value of it is wrong.
    """
    known = list(_dotted(OmegaConf.to_container(cfg, resolve=False), ""))
    for key in space.keys:
        if key.partition(".")[0] not in _SECTIONS or key not in known:
            near = nearest(key, [k for k in known if k.partition(".")[0] in _SECTIONS])
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"space={space.path}: {key}: method={cfg.method.name} has no such key.{hint} "
                "Expected keys of method, dataset or selection (python -m zsl_lab --cfg job lists "
                "them)."
            )
    for key, domain in space.keys.items():
        for value in [domain.low, domain.high] if isinstance(domain, Interval) else domain:
            try:
                parse(with_values(cfg, {key: value}))
            except ConfigError as error:
                raise ConfigError(f"space={space.path}: {error}") from error


def _dotted(node: Any, prefix: str) -> Iterator[str]:
    if isinstance(node, dict) and node:
        for name, child in node.items():
            yield from _dotted(child, f"{prefix}{name}.")
    else:
        yield prefix.rstrip(".")
