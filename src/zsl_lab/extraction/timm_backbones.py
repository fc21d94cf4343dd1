"""Frozen backbones of timm: networks without their classifier, which return pooled features.

timm's configuration of a network determines how images are scaled and normalised, and how features
are pooled (``num_classes=0``).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zsl_lab.data.recipe import Preparation
from zsl_lab.errors import CheckpointError, ConfigError, nearest
from zsl_lab.extraction.names import IMAGENET, RANDOM, TIMM_PREFIX
from zsl_lab.extraction.pretrained.network import (
    Defaults,
    PooledNetwork,
    measure,
    seeded,
    wrong_size,
)
from zsl_lab.extraction.weights import Terms, import_package, misfit, read_state_dict

#: names of files of weights on the Hugging Face Hub, the preferred one first
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
#: end of the names of batch norm's counters, which have no effect here
_COUNTER = ".num_batches_tracked"


def timm_defaults(name: str, image_size: int | None, terms: Terms) -> Defaults:
    """The sizes and the preparation of images that timm uses for a network.

    Args:
        name: The network, with :data:`TIMM_PREFIX`.
        image_size: Side, in pixels, of the square that the network sees; None for timm's.
        terms: Words for messages.

    Raises:
        ConfigError: If timm is missing, there is no such network, or its images are not prepared as
            a square of 3 channels, cut from the centre or squashed.
    """
    timm = _import_timm(name, terms)
    config = timm.data.resolve_data_config(pretrained_cfg=_facts(timm, name, terms).to_dict())
    if config["crop_mode"] not in ("center", "squash") or config["input_size"][0] != 3:
        raise ConfigError(
            f"{terms.network}{name}: timm gives this network images of shape "
            f"{list(config['input_size'])} with crop_mode={config['crop_mode']}; expected 3 "
            "channels, and center or squash. Choose another network."
        )
    size = image_size or int(config["input_size"][-1])
    preparation = Preparation(
        mean=[float(value) for value in config["mean"]],
        std=[float(value) for value in config["std"]],
        interpolation=config["interpolation"],
        crop_mode=config["crop_mode"],
    )
    return Defaults(math.floor(size / config["crop_pct"]), size, preparation)


def full_name(name: str, terms: Terms) -> str:
    """A network's name with the tag of its weights in timm: ``timm:resnet18.a1_in1k``.

    For a name without a tag, a later version of timm may download other weights.
    """
    timm = _import_timm(name, terms)
    tagged = f"{name}.{_facts(timm, name, terms).tag}"
    return tagged if tagged.removeprefix(TIMM_PREFIX) in timm.list_pretrained() else name


def build_timm_network(
    name: str, weights: str, image_size: int, preparation: Preparation, terms: Terms
) -> PooledNetwork:
    """Make a frozen network of timm.

    Args:
        name: Its name, with :data:`TIMM_PREFIX`.
        weights: ``imagenet`` (timm's own weights, downloaded), the file of a state dict, with the
            classifier or without, or ``random`` for random weights.
        image_size: Side of its images, in pixels.
        preparation: Mean and standard deviation of its images.
        terms: Words for messages.

    Raises:
        ConfigError: If timm is missing, there is no such network, its weights cannot be downloaded,
            or it does not take images of this size.
        CheckpointError: If the weights' file is missing, damaged or of another network.
    """
    timm = _import_timm(name, terms)
    facts = _facts(timm, name, terms)
    if weights == IMAGENET and not (facts.hf_hub_id or facts.url):
        raise ConfigError(
            f"{terms.weights}{IMAGENET}: timm has no weights for {name}. Give a file: "
            f"{terms.weights}FILE, or a network of timm.list_pretrained()."
        )
    model = _create(timm, name, facts, image_size, terms)
    network = PooledNetwork(name, model, preparation)
    measure(network, image_size, facts.input_size[-1], terms)
    if weights != RANDOM:
        network.weights_file = _load_weights(model, name, name, facts, weights, terms)
    return network


def build_timm_model(
    name: str, called: str, weights: str | None, terms: Terms
) -> tuple[nn.Module, Path | None]:
    """Make a network of timm without its classifier, in evaluation mode.

    Args:
        name: Its name in timm, with :data:`TIMM_PREFIX`.
        called: Its name in messages.
        weights: ``imagenet`` or the file of a state dict, as in :func:`build_timm_network`; None
            for random weights.
        terms: Words for messages.

    Returns:
        The network and the file of its weights.

    Raises:
        ConfigError: If timm is missing, or its weights cannot be downloaded.
        CheckpointError: If the weights' file is missing, damaged or of another network.
    """
    timm = _import_timm(called, terms)
    facts = _facts(timm, name, terms)
    model = _create(timm, name, facts, facts.input_size[-1], terms)
    if weights is None:
        return model, None
    return model, _load_weights(model, name, called, facts, weights, terms)


def _import_timm(name: str, terms: Terms) -> Any:
    otherwise = f"choose a network of torchvision: {', '.join(terms.networks)}"
    return import_package("timm", name, "timm", replace(terms, otherwise=otherwise))


def _facts(timm: Any, name: str, terms: Terms) -> Any:
    """Timm's ``PretrainedCfg`` of a network."""
    bare = name.removeprefix(TIMM_PREFIX)
    known = timm.list_pretrained() if "." in bare else timm.list_models()
    if bare not in known:
        near = nearest(bare, known)
        hint = (
            f"Did you mean {TIMM_PREFIX}{near[0]}?"
            if near
            else "Give one that timm.list_models() lists, or one of timm.list_pretrained()."
        )
        raise ConfigError(f"{terms.network}{name}: timm has no network of this name. {hint}")
    return timm.get_pretrained_cfg(bare) or timm.models.PretrainedCfg()


def _create(timm: Any, name: str, facts: Any, image_size: int, terms: Terms) -> nn.Module:
    """The network with random weights."""
    options = {"img_size": image_size} if facts.fixed_input_size else {}
    with seeded():
        try:
            model: nn.Module = timm.create_model(
                name.removeprefix(TIMM_PREFIX), pretrained=False, num_classes=0, **options
            )
        except Exception as error:  # each family of networks checks the size in its own way
            raise wrong_size(name, facts.input_size[-1], image_size, error, terms) from error
    return model.eval()


# ------------------------------------------------------------------------------------------------
# weights


def _load_weights(
    model: nn.Module, name: str, called: str, facts: Any, weights: str, terms: Terms
) -> Path:
    """Read a network's weights from timm's own file or the user's, which is returned."""
    if weights == IMAGENET:
        path, origin = _downloaded(name, facts, terms), f"{terms.weights}{IMAGENET}"
    else:
        path = Path(weights).expanduser()
        origin = f"{terms.weights}{path}"
    _load(model, called, facts, read_state_dict(path, called, terms), origin, terms)
    return path


def _downloaded(name: str, facts: Any, terms: Terms) -> Path:
    """The file of timm's own weights, downloaded or from its cache."""
    try:
        if facts.hf_hub_id:
            return _from_hub(facts)
        return Path(import_module("timm.models").download_cached_file(facts.url))
    except Exception as error:  # of the connection, the disk or the server
        raise ConfigError(
            f"{terms.weights}{IMAGENET}: cannot download the weights of {name} from "
            f"{facts.hf_hub_id or facts.url} ({type(error).__name__}: {str(error).splitlines()[0]})"
            f". Get the file by other means and give it: {terms.weights}FILE."
        ) from error


def _from_hub(facts: Any) -> Path:
    hub = import_module("huggingface_hub")
    repository, _, revision = facts.hf_hub_id.partition("@")
    names = (facts.hf_hub_filename,) if facts.hf_hub_filename else _HUB_FILES
    for name in names[:-1]:
        try:
            return Path(hub.hf_hub_download(repository, name, revision=revision or None))
        except hub.errors.EntryNotFoundError:
            pass
    return Path(hub.hf_hub_download(repository, names[-1], revision=revision or None))


def _load(
    model: nn.Module,
    name: str,
    facts: Any,
    state: Mapping[str, Tensor],
    origin: str,
    terms: Terms,
) -> None:
    """Copy weights into a network, all of them or none.

    Raises:
        CheckpointError: If they are of another network.
    """
    problem = misfit(model.state_dict(), state, _classifier(facts))
    if problem:
        state = _converted(model, state)
        if misfit(model.state_dict(), state, _classifier(facts)):
            raise CheckpointError(
                f"{origin}: these weights do not fit {terms.network}{name}: {problem}. Set "
                f"{terms.weights.strip('= ')} to a state dict of this network, or "
                f"{terms.network.strip('= ')} to the network that these are of."
            )
    # the network lacks the classifier, and the file may lack batch norm's counters
    model.load_state_dict(state, strict=False)


def _classifier(facts: Any) -> tuple[str, ...]:
    """The beginnings of the names of the classifier's weights."""
    parts = (facts.classifier,) if isinstance(facts.classifier, str) else facts.classifier or ()
    return tuple(f"{part}." for part in parts)


def _converted(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights converted by timm: position embeddings of another image size, other names."""
    if "_conv_stem.weight" in state:
        return _of_efficientnet_packages(model, state)
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        converted: Mapping[str, Tensor] = convert(dict(state), model)
    except Exception:  # timm does not know these weights; the caller says what does not fit
        return state
    return converted


def _of_efficientnet_packages(
    model: nn.Module, state: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Weights of efficientnet-pytorch and efficientnet-lite-pytorch, under timm's names.

    They have the same tensors in the same order as timm's, under other names.
    """
    ours = [name for name in model.state_dict() if not name.endswith(_COUNTER)]
    theirs = [name for name in state if not name.startswith("_fc.") and not name.endswith(_COUNTER)]
    if [name.rpartition(".")[2] for name in ours] != [name.rpartition(".")[2] for name in theirs]:
        return state
    return {name: state[other] for name, other in zip(ours, theirs, strict=True)}
