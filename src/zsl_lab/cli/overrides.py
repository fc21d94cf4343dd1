"""The arguments of the command: prepared for Hydra, applied to a checkpoint, explained in errors.

All code that depends on internals of Hydra or its plugins is in this file: a patch that makes it
faster, the grammar of overrides, the texts of its errors, the local variables of a launcher.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zsl_lab.errors import ConfigError, TrainingError, nearest, quoted
from zsl_lab.sweep import composition

CONFIG_MODULE = "zsl_lab.conf"

#: choices of Hydra's own groups that need further packages, and the extra that installs them
EXTRAS = {
    "hydra/launcher=joblib": "sweep",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
}

#: groups that every run needs: none of them can be left out
_NEEDED = ("method", "dataset", "classifier", "selection", "hardware")

# Hydra deep-copies this singleton for every group that it examines; with plugins this takes most of
# a second of --help. It is not needed: Hydra also copies each configuration that it loads from it.
ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]

composition.install()

# Hydra's own launcher for Ray may be installed too; this package's, of the same name, has its keys
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/ray' is validated against")


# --------------------------------------------------------------------------- reading


def is_override(argument: str) -> bool:
    """Whether an argument is an override, rather than an option or the value of one."""
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def parsed(arguments: Iterable[str]) -> dict[str, Override]:
    """The overrides among the arguments, parsed by Hydra, by key or group.

    Those that Hydra cannot parse are left out: Hydra reports them later.
    """
    found = [_parsed(argument) for argument in arguments if is_override(argument)]
    return {str(override.key_or_group): override for override in found if override is not None}


@lru_cache(maxsize=1024)  # the same arguments are parsed several times
def _parsed(argument: str) -> Override | None:
    """An override; None where Hydra cannot parse it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with suppress(OverrideParseException):
        return OverridesParser.create().parse_override(argument)
    return None


def text(override: Override) -> str:
    """The value of an override as it was typed."""
    return str(override.input_line).partition("=")[2]


def value(override: Override | None) -> Any:
    """The value of an override; None where it is absent, null, empty or a sweep over values."""
    if override is None or override.is_sweep_override():
        return None
    return override.value() or None


def has_checkpoint(given: Mapping[str, Override]) -> bool:
    """Whether the command names a checkpoint, or several to sweep over."""
    ckpt = given.get("ckpt")
    return ckpt is not None and (ckpt.is_sweep_override() or value(ckpt) is not None)


# --------------------------------------------------------------------------- preparing


def prepare(arguments: Sequence[str]) -> list[str]:
    """Prepare the arguments of the command for Hydra.

    Raises:
        ConfigError: If they contradict each other, or change settings of a checkpoint.
    """
    expanded = [expand_home(argument) for argument in arguments]
    if not any(map(is_override, expanded)):
        return expanded  # importing the grammar would make --help slow
    # Hydra accepts no option, such as -m, between overrides
    expanded.sort(key=is_override)
    given = parsed(expanded)
    check_needed(given)
    check_tuned(given)
    return set_run_dir(allow_places(choose_own_dataset(expanded)))


def expand_home(argument: str) -> str:
    """Expand ``~/`` at the start of a value: the shell does not, and Hydra cannot parse it."""
    key, equals, typed = argument.partition("=")
    return f"{key}{equals}{re.sub('(^|,)~(?=/)', lambda found: found[1] + str(Path.home()), typed)}"


def check_needed(given: Mapping[str, Override]) -> None:
    """Check that no group is removed (``~group``) that every run needs; Hydra does not check this.

    Raises:
        ConfigError: If such a group is removed.
    """
    for key in _NEEDED:
        if key in given and given[key].is_delete():
            raise ConfigError(
                f"{given[key].input_line}: every run needs one. Choose another with "
                f"{key}=NAME (python -m zsl_lab --help lists them), or leave this out."
            )


def check_tuned(given: Mapping[str, Override]) -> None:
    """Check the choice of ``tuned``: Hydra accepts any name, as the group is optional.

    Raises:
        ConfigError: If there is no such choice.
    """
    if "tuned" not in given or "${" in text(given["tuned"]):
        return
    from zsl_lab.run.configuration.settings_files import NONE, names

    choices = [NONE, *names()]
    for choice in text(given["tuned"]).split(","):
        if choice not in choices:
            raise ConfigError(
                f"tuned={choice}: there is no such choice. Choices of tuned: "
                f"{', '.join(sorted(choices))}."
            )


def literal(value: Any) -> str:
    """A plain value written in Hydra's grammar of overrides."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(literal, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        escaped = re.sub(r"(\\*)(?='|$)", lambda found: found[1] * 2, value).replace("'", "\\'")
        return f"'{escaped}'"
    return repr(value)


def insert(arguments: Sequence[str], *overrides: str) -> list[str]:
    """Insert overrides before the first one, since Hydra reads none after a later option."""
    first = next((i for i, argument in enumerate(arguments) if is_override(argument)), 0)
    return [*arguments[:first], *overrides, *arguments[first:]]


def choose_own_dataset(arguments: list[str]) -> list[str]:
    """Add ``dataset=own`` to ``dataset.path=FILE``, unless the dataset is a checkpoint's.

    Raises:
        ConfigError: If another dataset is chosen too.
    """
    given = parsed(arguments)
    if "dataset.path" not in given or has_checkpoint(given):
        return arguments
    if "dataset" not in given:
        return insert(arguments, "dataset=own")
    dataset, path = text(given["dataset"]), text(given["dataset.path"])
    if dataset != "own":
        raise ConfigError(
            f"dataset={dataset}: dataset.path={path} names a file, which is a dataset of its own. "
            f"Leave dataset={dataset} out to use the file, or leave dataset.path out."
        )
    return arguments


def set_run_dir(arguments: list[str]) -> list[str]:
    """With a checkpoint, add the folder of the run.

    A resumed run continues in its own folder, where Hydra's record of its start (``.hydra``) stays
    unchanged; a test or a prediction gets a new folder.

    Raises:
        ConfigError: If the checkpoint to resume from is not in the folder of a run.
    """
    given = parsed(arguments)
    if "ckpt" not in given or "hydra.run.dir" in given:
        return arguments
    task = value(given.get("task"))
    if task in ("test", "predict"):
        now = "${now:%Y-%m-%d_%H-%M-%S-%f}"
        return insert(arguments, f"hydra.run.dir=${{paths.output_dir}}/{task}/{now}")
    path = Path(str(value(given["ckpt"]))).absolute()
    # if last.ckpt is lost, the one before it is read
    if not path.is_file() and not path.with_name("last-previous.ckpt").is_file():
        return arguments
    if path.parent.name != "checkpoints":
        raise ConfigError(
            f"{quoted('ckpt', str(path))}: a run goes on in its own folder; expected "
            "RUN/checkpoints/last.ckpt."
        )
    folder = str(path.parent.parent).replace("'", "\\'")
    return insert(arguments, f"hydra.run.dir='{folder}'", "hydra.output_subdir=null")


# --------------------------------------------------------------------------- with a checkpoint


def allow_places(arguments: list[str]) -> list[str]:
    """With a checkpoint, make Hydra accept keys of the checkpoint's method and dataset.

    Hydra composes the default method and dataset, which may lack these keys. The checkpoint is read
    later, and then only keys that name files may be changed (:func:`update_stored`). Arguments that
    can be refused without knowing the checkpoint's classes are refused here.

    Raises:
        ConfigError: If an argument changes a setting of the checkpoint.
    """
    given = parsed(arguments)
    if not has_checkpoint(given):
        return arguments
    from zsl_lab.keys import Place, is_below, marked
    from zsl_lab.run.configuration.schema import RunKeys

    # sections whose keys are declared by the checkpoint's classes
    open_sections = [
        name for name, info in RunKeys.model_fields.items() if info.annotation == dict[str, Any]
    ]
    below = {
        key
        for key, override in given.items()
        if is_below(key, open_sections) and key not in open_sections and not override.is_delete()
    }
    unread = None if _may_be_read(given["ckpt"]) else given.values()
    check_not_fixed(unread or _never_equal(given), {*marked(RunKeys, Place), *below})
    forced = {str(given[key].input_line): key for key in below}
    # ++ also sets a key that the default method lacks
    return [
        f"++{argument.lstrip('+')}" if argument in forced else argument for argument in arguments
    ]


def _may_be_read(ckpt: Override) -> bool:
    """Whether ``ckpt`` names an existing file or folder, whose settings can be compared later."""
    return not ckpt.is_sweep_override() and Path(str(value(ckpt))).expanduser().exists()


def _never_equal(given: Mapping[str, Override]) -> list[Override]:
    """Overrides that cannot repeat a setting of a checkpoint: deletions and several values."""
    return [
        override
        for override in given.values()
        if override.is_delete() or override.is_sweep_override()
    ]


def _repeats(override: Override, stored: DictConfig, cfg: DictConfig) -> bool:
    """Whether an override gives the same value as the checkpoint's own setting.

    Args:
        override: An override of the command.
        stored: The checkpoint's configuration.
        cfg: The command's configuration, as Hydra composed it.
    """
    if override.is_delete() or override.is_sweep_override():
        return False
    key = str(override.key_or_group)
    if key in stored and isinstance(stored[key], DictConfig):  # a group: its choice has a name
        here = OmegaConf.select(cfg, f"{key}.name", default=None)
        return here is not None and here == OmegaConf.select(stored, f"{key}.name", default=None)
    if key.split(".")[0] not in stored:  # a group that sets keys of several sections
        return False
    missing = object()
    there = OmegaConf.select(stored, key, default=missing)
    here = override.value()
    if isinstance(there, DictConfig | ListConfig):
        there = OmegaConf.to_container(there, resolve=True)
    same_kind = isinstance(here, bool) == isinstance(there, bool)
    return there is not missing and same_kind and bool(here == there)


def check_not_fixed(overrides: Iterable[Override], places: Collection[str]) -> None:
    """Check that overrides do not change settings that are taken from a checkpoint.

    Args:
        overrides: Overrides of the command.
        places: Keys that name files, which may be changed.

    Raises:
        ConfigError: If a setting is changed.
    """
    for override in overrides:
        key = str(override.key_or_group)
        if _is_fixed(key.split(".")[0]) and (key not in places or override.is_delete()):
            line = str(override.input_line)
            shown = line if override.is_delete() else line.lstrip("+")
            raise ConfigError(
                f"{shown}: a checkpoint brings the settings it was trained with. Leave {key} "
                "out, or start a new run without ckpt."
            )


def _is_fixed(name: str) -> bool:
    """Whether a section, top-level key or group is taken from the checkpoint."""
    from importlib.resources import files

    from zsl_lab.keys import FixedByCheckpoint, marked
    from zsl_lab.run.configuration.schema import RunKeys

    if name in RunKeys.model_fields:
        return name in marked(RunKeys, FixedByCheckpoint)
    if name == "hydra":  # Hydra's own section, though there is a folder conf/hydra
        return False
    # other groups, such as tuned, set keys of several sections
    return name not in sections_of_groups() and (files(CONFIG_MODULE) / name).is_dir()


def sections_of_groups() -> dict[str, str]:
    """For each group that fills a section of another name, that section."""
    from zsl_lab.keys import FilledBy, marked
    from zsl_lab.run.configuration.schema import RunKeys

    return {mark.group: section for section, mark in marked(RunKeys, FilledBy).items()}


def without_chosen(stored: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A checkpoint's configuration without the callbacks and loggers that the command chooses.

    Args:
        stored: The checkpoint's configuration.
        overrides: The command's overrides.
    """
    chosen = {"callbacks", "logger"} & set(parsed(overrides))
    return {key: value for key, value in stored.items() if key not in chosen}


def update_stored(stored: DictConfig, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Apply the command's overrides to the configuration of a checkpoint.

    Args:
        stored: The checkpoint's configuration, changed in place.
        cfg: The command's configuration, as Hydra composed it.
        overrides: The command's overrides.

    Raises:
        ConfigError: If an override changes a setting that is taken from the checkpoint.
    """
    from zsl_lab.keys import Place, marked
    from zsl_lab.run.config import class_marks, plain_config
    from zsl_lab.run.configuration.schema import RunKeys

    given = parsed(overrides)
    places = set(marked(RunKeys, Place))
    if any(_is_fixed(key.split(".")[0]) for key in given):
        places |= class_marks(plain_config(stored)).places
    repeated = {key for key, override in given.items() if _repeats(override, stored, cfg)}
    check_not_fixed((given[key] for key in given if key not in repeated), places)
    sections = sections_of_groups()
    for key, override in given.items():
        if key in repeated and _is_fixed(key.split(".")[0]):
            continue
        section = sections.get(key, key)
        if override.is_delete():
            parent, _, name = section.rpartition(".")
            del (OmegaConf.select(stored, parent) if parent else stored)[name]
        else:
            chosen = OmegaConf.select(cfg, section)
            OmegaConf.update(stored, section, chosen, merge=False, force_add=True)


# --------------------------------------------------------------------------- errors of Hydra


def explain(error: Exception, arguments: Sequence[str]) -> str | None:
    """A message for an error of Hydra, OmegaConf or a plugin; None for any other error."""
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_choice(str(error.missing_cfg_file), error.options)
    if isinstance(error, ConfigCompositionException):
        refused = _refused_choice(error)
        if refused is not None:
            return refused
        return _needs_multirun(error, arguments) or _unknown_key(error, arguments)
    if isinstance(error, OverrideParseException):
        return f"{str(error).splitlines()[0]}: {_how_to_write(str(error.override), arguments)}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return str(error).splitlines()[0]
    if isinstance(error, ValueError) and "Config group override" in str(error):
        return (
            "A group takes the name of one of its choices (python -m zsl_lab --help lists them); "
            "leave it out for none."
        )
    if _of_submitit(error):
        what = " ".join(str(error).splitlines()[:2])
        return f"submitit: a job ended without a result: {what}."
    return None


def _refused_choice(error: ConfigCompositionException) -> str | None:
    """The message of a ConfigError raised while Hydra resolved the files of settings, if any."""
    found = re.match(
        r"ConfigError raised while resolving interpolation: (.*)", str(error.__context__)
    )
    return found and found[1]


def _needs_multirun(error: ConfigCompositionException, arguments: Sequence[str]) -> str | None:
    """A message about several values of a key without ``-m``; None for another error."""
    found = re.search(
        r"(?:Sweep parameters?|Ambiguous value for argument) '(.*?)'(?: requires --multirun|\n|$)",
        str(error),
    )
    if found is None:
        return None
    key, _, typed = found[1].partition("=")
    command = shlex.join(["python", "-m", "zsl_lab", "-m", *arguments])
    hint = ""
    if typed.split("(")[0] not in ("range", "choice", "interval", "glob"):
        one, several = quoted(key, typed), shlex.quote(f"{key}=[{typed}]")
        hint = f" One value that contains a comma: {one}; a list: {several}."
    return f"{found[1]}: several values need -m, which makes a run of each: {command}.{hint}"


def _how_to_write(argument: str, arguments: Sequence[str]) -> str:
    """How to write an argument that Hydra cannot parse."""
    key, equals, typed = argument.partition("=")
    if equals and re.fullmatch(r"[+~]*[\w./@]+", key):
        bare = typed.strip("\"'")
        return f"a value with such characters needs quotes: {quoted(key, bare)}."
    joined = _cut_at_space(argument, arguments)
    return f"expected KEY=VALUE or GROUP=CHOICE.{joined or ''}"


def _cut_at_space(argument: str, arguments: Sequence[str]) -> str | None:
    """A hint if an argument seems to be the rest of the one before it, cut at a space; or None."""
    place = next((i for i, given in enumerate(arguments) if given == argument), 0)
    start = place
    while start > 0 and not is_override(arguments[start - 1]):
        start -= 1
    if start == 0:
        return None
    key, _, first = arguments[start - 1].partition("=")
    whole = " ".join([first, *arguments[start : place + 1]])
    if not first or ("/" not in whole and not Path(whole).expanduser().exists()):
        return None
    return f" A value with a space needs quotes: {quoted(key, whole)}."


def _unknown_choice(missing: str, options: Sequence[str]) -> str:
    group, _, choice = missing.rpartition("/")
    if f"{group}={choice}" == "hydra/sweeper=optuna":
        return (
            "hydra/sweeper=optuna: values are searched by `python -m zsl_lab.tune method=... "
            "dataset=...` instead, which trains no refit and tests nothing. `python -m "
            "zsl_lab.tune --help` shows examples."
        )
    extra = EXTRAS.get(f"{group}={choice}")
    if extra:
        return f'{group}={choice} needs more packages: pip install "zsl-lab[{extra}]".'
    near = nearest(choice.lower(), options)
    hint = f" Did you mean {group}={near[0]}?" if near else ""
    return (
        f"{group}={choice}: there is no such choice.{hint} Choices of {group}: "
        f"{', '.join(sorted(options))}."
    )


def _unknown_key(error: ConfigCompositionException, arguments: Sequence[str]) -> str:
    first = str(error).splitlines()[0]
    if "'" not in first:
        return first
    key = first.split("'")[1]
    groups, keys = _known(arguments)
    if key in keys:
        return (
            f"{key}: one of the choices swept over has no such key. Sweep over those that have "
            "it, and run the others separately."
        )
    near = nearest(key, [*groups, *keys])
    typed = next((given for given in arguments if given.lstrip("+~").startswith(f"{key}=")), "")
    cut = _cut_at_space(typed, arguments) if "/" in typed else None
    if cut is not None and not near:
        return f"{key}: there is no such key.{cut}"
    hint = (
        f"Did you mean {' or '.join(near)}?"
        if near
        else "`python -m zsl_lab --cfg job` lists every key."
    )
    return f"{key}: there is no such key. {hint}"


def _known(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """All groups, and all keys of the configuration composed with the chosen groups."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    from zsl_lab.methods.catalogue import without_examples

    GlobalHydra.instance().clear()
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = loader.list_groups("")
        chosen = [
            str(override.input_line)
            for group, override in parsed(arguments).items()
            if group in groups
            and text(override) in loader.get_group_options(group, ObjectType.CONFIG)
        ]
        cfg = compose("config", chosen)
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    return groups, _dotted({**plain, "method": without_examples(plain["method"])}, "")


def _dotted(node: object, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    return [
        key for name, child in node.items() for key in _dotted(child, f"{prefix}.{name}".strip("."))
    ]


# --------------------------------------------------------------------------- launchers


def cancel_jobs(frame: TracebackType | None) -> None:
    """Cancel the jobs of an interrupted launcher, which submitit's launcher does not do itself.

    Args:
        frame: The traceback of the interruption.
    """
    for job in _jobs(frame):
        if hasattr(job, "cancel"):
            job.cancel()


def wait_for_jobs(frame: TracebackType | None) -> None:
    """Wait for the other jobs of a launcher after an error.

    submitit's launcher itself stops at the first lost job.

    Args:
        frame: The traceback of the error.
    """
    try:
        for job in _jobs(frame):
            if hasattr(job, "wait"):
                with suppress(Exception):
                    job.wait()
    except KeyboardInterrupt:
        cancel_jobs(frame)


def is_lost_job(error: Exception) -> bool:
    """Whether an error is a launcher's about a job whose process was lost."""
    return isinstance(error, TrainingError) or _of_submitit(error)


def _of_submitit(error: Exception) -> bool:
    return any(kind.__name__ == "UncompletedJobError" for kind in type(error).__mro__)


def _jobs(frame: TracebackType | None) -> list[Any]:
    """The jobs that a launcher keeps in its local variable ``jobs``, found by a traceback."""
    found: list[Any] = []
    while frame is not None:
        jobs = frame.tb_frame.f_locals.get("jobs")
        found += jobs if isinstance(jobs, list) else ()
        frame = frame.tb_next
    return found
