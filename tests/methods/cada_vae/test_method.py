from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from tests.conftest import ENTRIES
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.cada_vae import CADAVAE
from zsl_lab.methods.cada_vae.config import CADAVAEConfig, Ramp
from zsl_lab.methods.catalogue import without_examples

Configure = Callable[..., DictConfig]

SEEN = np.array([True, False, True, True, False])
YAML = without_examples(ENTRIES["cada_vae"].settings)
SMALL = {
    "latent_dim": 3,
    "encoder_hidden": [8],
    "decoder_hidden": [7],
    "semantic_encoder_hidden": [6],
    "semantic_decoder_hidden": [5],
    "steps": 100,
}


def keys(**changes: Any) -> CADAVAEConfig:
    """The keys of the yaml with small networks."""
    found = {**YAML, **SMALL, **changes}
    return CADAVAEConfig.model_validate({k: v for k, v in found.items() if k != "_target_"})


def small(**changes: Any) -> CADAVAE:
    """On 5 classes (3 seen) with 4 attributes and features of 6 dimensions."""
    semantics = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    names = tuple(f"class {i}" for i in range(5))
    torch.manual_seed(0)
    return CADAVAE(keys(**changes), 6, ClassSpace(np.arange(5), semantics, SEEN, names))


def batch(count: int = 7) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([0, 3, 2, 3, 0, 0, 2])[:count]


# ------------------------------------------------------------------------------- schedules


def test_weights_are_those_of_a_plain_loop_over_epochs() -> None:
    method = small()

    def ramp(epoch: int, factor: float, start: int, end: int) -> float:
        return min(max((epoch - start) / (end - start) * factor, 0.0), factor)

    for epoch in range(100):  # of one step each
        expected = (
            ramp(epoch, 0.25, 0, 93),
            ramp(epoch, 2.37, 21, 75),
            ramp(epoch, 8.13, 6, 22),
        )
        assert method.weights_at(epoch) == pytest.approx(expected)


def test_a_ramp_without_length_is_a_step() -> None:
    ramp = Ramp(weight=2.0, start=0.5, end=0.5)
    assert [ramp.at(share) for share in (0.0, 0.49, 0.5, 1.0)] == [0, 0, 2, 2]


def test_a_ramp_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match=r"end is 0\.1, before start, 0\.21; give end >= start"):
        Ramp(weight=1.0, start=0.21, end=0.1)


# ------------------------------------------------------------------------------- loss


def written_out(method: CADAVAE, x: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """The loss of a batch, sample by sample, as the paper has it."""
    features, semantics = method.features_vae, method.semantics_vae
    beta, gamma, delta = method.weights_at(method.step)
    total = torch.zeros(())
    for i, (row, label) in enumerate(zip(x, labels.tolist(), strict=True)):
        a = method.semantics[label]
        mean_x, log_x = features.encoder(row).chunk(2)
        mean_a, log_a = semantics.encoder(a).chunk(2)
        z_x = mean_x + (log_x / 2).exp() * noise[i]
        z_a = mean_a + (log_a / 2).exp() * noise[len(x) + i]
        own = (row - features.decoder(z_x)).abs().sum() + (a - semantics.decoder(z_a)).abs().sum()
        cross = (row - features.decoder(z_a)).abs().sum() + (a - semantics.decoder(z_x)).abs().sum()
        kl = sum(
            0.5 * (m**2 + v.exp() - v - 1).sum() for m, v in ((mean_x, log_x), (mean_a, log_a))
        )
        spread = (log_x / 2).exp() - (log_a / 2).exp()
        distance = ((mean_x - mean_a).square().sum() + spread.square().sum()).sqrt()
        total = total + (own + beta * kl + gamma * cross + delta * distance) / len(x)
    return total


# 2: fewer samples than seen classes; 15: no cross reconstruction yet; 3: no distance either
@pytest.mark.parametrize(("count", "step"), [(7, 60), (2, 60), (7, 15), (7, 3)])
def test_the_loss_is_the_written_out_one_in_value_and_gradient(
    monkeypatch: pytest.MonkeyPatch, count: int, step: int
) -> None:
    method = small(noise="dimension")
    method.step = step
    x, labels = batch(count)
    noise = torch.randn(2 * count, 3)
    monkeypatch.setattr(torch, "randn_like", lambda mean: noise[: len(mean)])
    found = method.loss(Batch(x, labels, labels))
    assert ("cross" in found, "distance" in found) == (step > 21, step > 6)
    expected = written_out(method, x, labels, noise)
    torch.testing.assert_close(found["total"], expected)
    weights = list(method.parameters())
    gradients: list[Any] = [
        torch.autograd.grad(loss, weights, allow_unused=True) for loss in (found["total"], expected)
    ]
    for mine, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------- reading


def test_scores_are_minus_the_squared_wasserstein_distance_of_each_pair() -> None:
    method = small()
    x, _ = batch()
    found = method.class_scores(x)
    mean, log_variance = method.features_vae.encode(x)
    class_mean, class_log_variance = method.semantics_vae.encode(method.semantics)
    for b in range(7):
        for c in range(5):
            means = (mean[b] - class_mean[c]).square().sum()
            spread = (log_variance[b] / 2).exp() - (class_log_variance[c] / 2).exp()
            expected = -(means + spread.square().sum())
            assert found[b, c].item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-5)


def test_points_are_drawn_from_what_samples_and_semantics_are_encoded_to() -> None:
    method = small(noise="dimension")
    x, _ = batch(2)
    rows = method.semantics[[1, 4]]
    of_classes = method.generate_points(rows, 20_000)
    of_samples = torch.stack([method.draw_points(row.expand(20_000, 6)) for row in x])
    for points, (mean, log_variance) in (
        (of_classes, method.semantics_vae.encode(rows)),
        (of_samples, method.features_vae.encode(x)),
    ):
        torch.testing.assert_close(points.mean(1), mean, atol=0.05, rtol=0)
        torch.testing.assert_close(points.std(1), (log_variance / 2).exp(), atol=0.05, rtol=0)
    assert torch.equal(method.embed(x), method.features_vae.encode(x)[0])
    assert torch.equal(method.prototypes(rows), method.semantics_vae.encode(rows)[0])


def test_features_are_decoded_points() -> None:
    method, nonnegative = small(), small(nonnegative=True)
    torch.manual_seed(5)
    points = method.generate_points(method.semantics, 3)
    torch.manual_seed(5)
    found = method.generate(method.semantics, 3)
    assert found.shape == (5, 3, 6)
    torch.testing.assert_close(found[2, 1], method.features_vae.decoder(points[2, 1]))
    torch.manual_seed(5)
    assert torch.equal(nonnegative.generate(method.semantics, 3), found.clamp(min=0))


def test_weights_begin_small_and_biases_at_zero() -> None:
    space = ClassSpace(np.arange(2), np.eye(2, dtype=np.float32), SEEN[:2], ("a", "b"))
    method = CADAVAE(keys(encoder_hidden=[200]), 100, space)
    first, last = method.features_vae.encoder[0], method.features_vae.encoder[-1]
    assert isinstance(first, torch.nn.Linear)
    assert isinstance(last, torch.nn.Linear)
    # mean and log-variance count as layers of their own
    for layer, bound in ((first, 0.5 * (6 / 300) ** 0.5), (last, 0.5 * (6 / 203) ** 0.5)):
        assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.slow
def test_the_paper_reads_latent_points_with_a_softmax(configure: Configure) -> None:
    cfg = configure("method=cada_vae")
    assert (cfg.classifier.name, cfg.classifier.space) == ("softmax_latent", "method")


def test_adam_is_amsgrad() -> None:
    assert small().configure_optimizers().defaults["amsgrad"] is True
