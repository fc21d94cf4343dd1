from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.mmvae import MMVAE
from zsl_lab.methods.module import Check
from zsl_lab.methods.sgal import SGAL

CONFIG: dict[str, Any] = {
    "name": "sgal",
    "steps": 3,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "latent_dim": 4,
    "encoder_hidden": [12],
    "decoder_hidden": [12],
    "prior_hidden": [12],
    "encoder_dropout": 0.3,
    "decoder_dropout": 0.3,
    "prior_dropout": 0.3,
    "batch_norm": True,
    "prior_batch_norm": True,
    "fine_tune_batch_size": 16,
    "kl_weight": 1.0,
    "gamma": 0.1,
    "d": 1.0,
    "pairs": "different",
    "fine_tune_steps": 5,
    "fine_tune_learning_rate": 1e-4,
    "init_from": None,
    "g": 0.75,
    "delta": 0.0,
    "p": 0.0,
    "decoder_samples": 1,
    "generate_with_dropout": False,
    "restore_best": True,
}
SEEN, UNSEEN, D, Q = 5, 3, 10, 6


def sgal(**changes: Any) -> SGAL:
    torch.manual_seed(0)
    config = SGAL.config_class.model_validate({**CONFIG, **changes})
    semantics = np.random.default_rng(0).normal(size=(SEEN + UNSEEN, Q)).astype(np.float32)
    names = tuple(f"class {i}" for i in range(SEEN + UNSEEN))
    method = SGAL(
        config,
        D,
        ClassSpace(np.arange(SEEN + UNSEEN), semantics, np.arange(SEEN + UNSEEN) < SEEN, names),
    )
    optimizer = method.configure_optimizers()
    monkeypatched: Any = method
    monkeypatched.optimizers = lambda use_pl_optimizer=True: optimizer
    monkeypatched.manual_backward = lambda loss: loss.backward()
    return method.train()


def batch(method: SGAL) -> Batch:
    size = method.batch_size_at(method.step)
    return Batch(torch.randn(size, D), torch.randint(SEEN, (size,)), torch.arange(size))


def run(method: SGAL, steps: int) -> list[tuple[Tensor, Tensor]]:
    """Train, and hand back the features and labels of every update."""
    seen = []
    losses = MMVAE.losses

    def spy(features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        seen.append((features, labels))
        return losses(method, features, labels)

    monkeypatched: Any = method
    monkeypatched.losses = spy
    for _ in range(steps):
        method.train_on(batch(method))
        method.step += 1
    return seen


def test_pretraining_sees_only_seen_classes_in_batches_of_the_given_size() -> None:
    for features, labels in run(sgal(), 3):
        assert features.shape == (16, D)
        assert labels.max() < SEEN


def test_fine_tuning_mixes_real_seen_and_generated_unseen_samples_by_g() -> None:
    updates = run(sgal(), 8)[3:]
    assert len(updates) == 5
    for features, labels in updates:
        assert len(features) == 16
        assert (labels >= SEEN).sum() == 12
        assert not features.requires_grad


def test_with_probability_p_comes_an_extra_step_on_seen_samples() -> None:
    updates = run(sgal(p=1.0), 5)[3:]
    assert len(updates) == 4
    assert all(labels.max() < SEEN and len(labels) == 16 for _, labels in updates[::2])
    assert all((labels >= SEEN).any() for _, labels in updates[1::2])


@pytest.mark.slow
def test_the_share_of_generated_samples_varies_by_delta() -> None:
    method = sgal(g=0.5, delta=0.25, steps=1, fine_tune_steps=60)
    counts = {int((labels >= SEEN).sum()) for _, labels in run(method, 60)[1:]}
    assert min(counts) >= 4
    assert max(counts) <= 12
    assert len(counts) > 4


def test_unseen_classes_are_drawn_uniformly() -> None:
    method = sgal()
    _, labels = method._generate_unseen(30_000)
    counts = torch.bincount(labels, minlength=SEEN + UNSEEN)
    assert counts[:SEEN].sum() == 0
    assert (counts[SEEN:] - 10_000).abs().max() < 400


def test_dropout_variant_decodes_each_z_several_times_and_differently() -> None:
    method = sgal(generate_with_dropout=True, decoder_samples=5)
    features, labels = method._generate_unseen(8)
    assert features.shape == (40, D)
    assert torch.equal(labels.view(5, 8)[0], labels.view(5, 8)[4])
    assert not torch.equal(features.view(5, 8, D)[0], features.view(5, 8, D)[1])
    assert torch.unique(sgal(decoder_samples=2)._generate_unseen(4)[0], dim=0).shape[0] == 4


def test_generating_leaves_mode_and_batch_statistics_untouched() -> None:
    method = sgal(generate_with_dropout=True, decoder_samples=5)
    before = {name: value.clone() for name, value in method.networks.state_dict().items()}
    method._generate_unseen(8)
    assert all(module.training for module in method.networks.modules())
    assert all(
        torch.equal(value, before[name]) for name, value in method.networks.state_dict().items()
    )


def test_fine_tuning_starts_with_a_fresh_optimiser_and_no_dropout_in_the_prior() -> None:
    method = sgal()
    run(method, 3)
    optimizer = method.optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert next(iter(optimizer.state.values()))["step"] == 3
    run(method, 1)
    assert next(iter(optimizer.state.values()))["step"] == 1
    assert optimizer.param_groups[0]["lr"] == 1e-4
    assert all(
        module.p == 0
        for module in method.networks.prior.modules()
        if isinstance(module, nn.Dropout)
    )
    assert all(
        module.p == 0.3
        for module in method.networks.decoder.modules()
        if isinstance(module, nn.Dropout)
    )


def test_a_check_that_does_not_improve_undoes_the_steps_since_the_best() -> None:
    method = sgal()
    run(method, 4)
    method.best = Check(4, method.effective_step, {"harmonic_mean": 50.0})
    method.after_check(improved=True)
    kept = {name: value.clone() for name, value in method.networks.state_dict().items()}
    run(method, 2)
    assert method.effective_step == 6
    method.after_check(improved=False)
    assert all(
        torch.equal(value, kept[name]) for name, value in method.networks.state_dict().items()
    )
    assert method.effective_step == 4
    run(method, 1)
    assert method.effective_step == 5


def test_restoring_can_be_switched_off() -> None:
    method = sgal(restore_best=False)
    run(method, 4)
    method.best = Check(4, 4, {"harmonic_mean": 50.0})
    method.after_check(improved=True)
    run(method, 2)
    method.after_check(improved=False)
    assert method.effective_step == 6


def test_no_pretraining_is_refused() -> None:
    with pytest.raises(ValueError, match="diverges without pre-training"):
        sgal(steps=0)


def test_dropout_variant_without_dropout_in_the_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="needs dropout in the decoder"):
        sgal(generate_with_dropout=True, decoder_hidden=[])


def test_scores_are_minus_squared_distances_and_do_not_depend_on_batch_mates() -> None:
    method = sgal().eval()
    features = torch.randn(9, D)
    scores = method.class_scores(features)
    mean, priors = method.networks.encode(features)[0], method.networks.prior(method.semantics)
    expected = [
        [-((mean[b] - priors[c]) ** 2).sum().item() for c in range(SEEN + UNSEEN)] for b in range(9)
    ]
    torch.testing.assert_close(scores, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(method.class_scores(features[:1]), scores[:1])


def test_features_of_any_class_can_be_generated_from_its_semantics() -> None:
    method = sgal()
    features = method.generate(torch.randn(2, Q), 7)
    assert features.shape == (2, 7, D)
    assert method.training
