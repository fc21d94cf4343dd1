"""Losses and scores over very many classes are those that all classes at once give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import composed
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.nn import many_classes
from zsl_lab.run.config import parse

SEEN = np.array([True, True, False, True, True, False, True, True, True])
MODULES = (
    "vzsl.method",
    "aspn.method",
    "bilinear.method",
    "mmvae.networks",
    "dem.method",
)
SMALL = {
    "vzsl": ("method.latent_dim=3", "method.encoder_hidden=[5]", "method.decoder_hidden=[5]"),
    "aspn": ("method.hidden_dim=6", "method.noise_dim=2"),
    "dem": ("method.hidden_dim=6",),
}


def made(method: str, *overrides: str) -> tuple[ZeroShotMethod, Batch]:
    overrides = (f"method={method}", "settings=none", *SMALL.get(method, ()), *overrides)
    config = parse(composed(Path("run"), *overrides))
    torch.manual_seed(0)
    semantics = torch.randn(len(SEEN), 4)
    space = ClassSpace(np.arange(len(SEEN)), semantics.numpy(), SEEN, tuple("abcdefghi"))
    found = config.method_class(config.method, 5, space).eval()
    labels = torch.from_numpy(np.flatnonzero(SEEN))[torch.arange(12) % 5]
    return found, Batch(torch.rand(12, 5), labels, torch.arange(12))


def loss_and_gradients(method: ZeroShotMethod, batch: Batch) -> list[Tensor]:
    torch.manual_seed(1)
    loss = (
        method.losses(batch.inputs, batch.labels)  # type: ignore[operator]
        if hasattr(method, "losses")
        else method.loss(batch)
    )
    total = loss if isinstance(loss, Tensor) else loss["total"]
    parameters = [p for p in method.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return [total.detach(), *(g for g in gradients if g is not None)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("vzsl",),
        ("vzsl", "method.exclude_true=true"),
        ("aspn",),
        ("aspn", "method.classify_among=seen", "method.compatibility=cosine"),
        ("sje",),
        ("ale",),
        ("devise",),
        ("latem", "method.matrices=2"),
        ("dem",),
    ],
    ids=" ".join,
)
def test_of_many_classes_loss_and_gradients_are_those_of_all_at_once(
    overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = made(*overrides)
    expected, scores = loss_and_gradients(method, batch), method.class_scores(batch.inputs)
    for module in MODULES:
        monkeypatch.setattr(f"zsl_lab.methods.{module}.FEW_CLASSES", 3)
    monkeypatch.setattr(many_classes, "_PART", 3)
    torch.testing.assert_close(loss_and_gradients(method, batch), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method.class_scores(batch.inputs), scores, rtol=1e-4, atol=1e-5)


def test_generated_features_of_many_classes_are_those_of_all_means_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method: Any = made("mmvae")[0]
    rows, found = torch.tensor([5, 1, 5, 7]), []
    for few in (100, 3):
        monkeypatch.setattr("zsl_lab.methods.mmvae.networks.FEW_CLASSES", few)
        torch.manual_seed(2)
        found.append(method.networks.generate(method.semantics, rows))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_class_norm_compares_with_some_classes_among_which_are_the_batchs_own() -> None:
    with pytest.warns(UserWarning, match="6 of the 7 seen classes"):
        method, batch = made("class_norm", "method.most_classes=6", "method.hidden_dim=6")
    targets = method._seen_position[batch.labels]  # type: ignore[index]
    classes, places = method._drawn(targets)  # type: ignore[operator]
    assert len(classes.unique()) == 6
    assert torch.equal(classes[places], targets)
    assert method.loss(batch).isfinite()  # type: ignore[union-attr]


def test_attention_among_very_many_classes_is_to_some_of_them(monkeypatch: Any) -> None:
    monkeypatch.setattr("zsl_lab.methods.aspn.method.FEW_CLASSES", 3)
    monkeypatch.setattr("zsl_lab.methods.aspn.method.some_of", lambda rows: rows[:3])
    with pytest.warns(UserWarning, match="attend to 3 of the 9 classes"):
        method, batch = made("aspn", "method.attend_among=classes")
    assert len(method._attended(method.semantics)) == 3  # type: ignore[operator]
    whole = method.class_scores(batch.inputs)
    method.set_classes(
        ClassSpace(np.arange(4), method.semantics[:4].numpy(), SEEN[:4], tuple("abcd"))
    )
    torch.testing.assert_close(method.class_scores(batch.inputs), whole[:, :4])


@pytest.mark.parametrize("name", ["aspn", "mmvae"])
def test_what_scores_need_of_classes_is_computed_once_until_weights_or_classes_change(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = made(name)
    monkeypatch.setattr("zsl_lab.methods.module.FEW_CLASSES", 3)
    computed: list[Tensor] = []
    network: Any = method.generator.hidden if name == "aspn" else method.networks.prior  # type: ignore[union-attr]
    network.register_forward_hook(lambda *_: computed.append(torch.zeros(0)))

    def scores() -> Tensor:
        with torch.no_grad():
            return method.class_scores(batch.inputs)

    first, again = scores(), scores()
    assert len(computed) == 1
    assert torch.equal(first, again)
    with torch.no_grad():
        next(network.parameters()).add_(0.5)
    changed = scores()
    assert len(computed) == 2
    assert not torch.equal(changed, first)
    torch.testing.assert_close(changed, method.class_scores(batch.inputs).detach())
    method.set_classes(
        ClassSpace(np.arange(4), method.semantics[:4].numpy(), SEEN[:4], tuple("abcd"))
    )
    torch.testing.assert_close(scores(), changed[:, :4])
