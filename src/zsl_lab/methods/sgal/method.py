"""Simultaneously generating and learning (SGAL paper, Algorithm 1, Eq. 4 to 9)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.config import MethodConfig, decayed
from zsl_lab.methods.joint import Losses, Update, dropout_masks
from zsl_lab.methods.mmvae.method import MMVAE
from zsl_lab.methods.sgal import objective
from zsl_lab.methods.sgal.config import SGALConfig


class SGAL(MMVAE):
    """An mmVAE that is fine-tuned on seen samples and generated samples of unseen classes.

    Training is ``steps`` steps of the mmVAE (pre-training), then ``fine_tune_steps`` steps.

    Args:
        config: See :class:`SGALConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[SGALConfig]] = SGALConfig
    config: SGALConfig

    def __init__(self, config: SGALConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self._undone = 0
        self._best_weights: dict[str, Tensor] | None = None

    @property
    def total_steps(self) -> int:
        """Pre-training and fine-tuning."""
        return self.config.steps + self.config.fine_tune_steps

    def batch_size_at(self, step: int) -> int:
        """``batch_size``; in fine-tuning two batches, the second for the extra seen-only step."""
        return (
            self.config.batch_size
            if step < self.config.steps
            else 2 * self.config.fine_tune_batch_size
        )

    def learning_rate_at(self, step: int) -> float | None:
        """The schedule over pre-training, and anew over fine-tuning."""
        config = self.config
        if config.learning_rate_schedule is None:
            return None
        if step < config.steps:
            return config.learning_rate * decayed(config.learning_rate_schedule, step, config.steps)
        return config.fine_tune_learning_rate * decayed(
            config.learning_rate_schedule, step - config.steps, config.fine_tune_steps
        )

    @property
    def milestones(self) -> tuple[int, ...]:
        """The end of pre-training, whose weights may be selected too."""
        return (self.config.steps,)

    @property
    def first_candidate(self) -> int:
        """Weights from before the end of pre-training are not SGAL's."""
        return self.config.steps

    @property
    def effective_step(self) -> int:
        """Steps taken, less those undone by going back to the best weights."""
        return self.step - self._undone

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """One step of pre-training or of fine-tuning (Algorithm 1, lines 3 to 7)."""
        if self.step < self.config.steps:
            return super().train_on(batch)
        extra, real = self._begin_fine_tuning_step()
        if extra:
            super().train_on(self._second_half(batch))
        features, labels = self._generate_unseen(self.config.fine_tune_batch_size - real)
        return self.update(
            torch.cat([batch.inputs[:real], features]), torch.cat([batch.labels[:real], labels])
        )

    def joint_updates(self, batch: Batch) -> Generator[Update, Losses, Losses]:
        """The updates of one step of pre-training or of fine-tuning."""
        config, size = self.config, self.config.fine_tune_batch_size
        if self.step < config.steps:
            return (yield from super().joint_updates(batch))
        extra, real = self._begin_fine_tuning_step()
        if config.decoder_samples > 1:  # how many features are generated then differs by step
            if extra:
                yield from super().joint_updates(self._second_half(batch))
            features, labels = self._generate_unseen(size - real)
            features = torch.cat([batch.inputs[:real], features])
            return (yield self.joint_update(features, torch.cat([batch.labels[:real], labels])))
        if extra:
            half = self._second_half(batch)
            yield self._mixed_update(half.inputs, half.labels, size)
        return (yield self._mixed_update(batch.inputs[:size], batch.labels[:size], real))

    def _begin_fine_tuning_step(self) -> tuple[bool, int]:
        """Whether there is an extra step, and the number of real samples beside generated ones."""
        config = self.config
        if self.step == config.steps:
            self._start_fine_tuning()
        extra, shift = self.common_draws(2).tolist()
        share = min(1.0, max(0.0, config.g + (2 * shift - 1) * config.delta))
        return extra < config.p, round(config.fine_tune_batch_size * (1 - share))

    def _second_half(self, batch: Batch) -> Batch:
        return Batch(*(part[self.config.fine_tune_batch_size :] for part in batch[:3]))

    def _mixed_update(self, features: Tensor, labels: Tensor, real: int) -> Update:
        """An update on the first ``real`` rows, and on a generated sample for each other row."""
        config, generated = self.config, features[real:]
        draws = generated.shape[0]
        drawn = torch.randint(self.unseen.shape[0], (draws,), device=features.device)
        noise = torch.randn(draws, config.latent_dim, dtype=features.dtype, device=features.device)
        dropped = self.joint_run.decoder_dropout if config.generate_with_dropout else []
        masks = dropout_masks(dropped, generated)
        labels = torch.cat([labels[:real], self.unseen[drawn]])
        return objective.mixed(self.joint_update(features, labels), config, real, noise, masks)

    @classmethod
    def trains_on_generated(cls, config: MethodConfig) -> bool:
        """True if there is fine-tuning, which uses generated features."""
        assert isinstance(config, SGALConfig)
        return config.fine_tune_steps > 0 or config.fine_tune_epochs is not None

    def _generate_unseen(self, draws: int) -> tuple[Tensor, Tensor]:
        """E-step: features of uniformly drawn unseen classes, with labels, ``([n, D], [n])``."""
        drawn = torch.randint(len(self.unseen), (draws,), device=self.device)
        copies = self.config.decoder_samples
        features = self.networks.generate(
            self.semantics[self.unseen],
            drawn,
            samples=copies,
            decoder_dropout=self.config.generate_with_dropout,
        )
        return features, self.unseen[drawn].repeat(copies)

    def generate(self, semantics: Tensor, samples: int, **options: Any) -> Tensor:
        """Sample features as in fine-tuning, with the decoder's dropout if it has that (Eq. 9)."""
        return super().generate(
            semantics, samples, **{"decoder_dropout": self.config.generate_with_dropout, **options}
        )

    def _start_fine_tuning(self) -> None:
        """A fresh optimiser, and no dropout in the prior network (paper, section 4.2)."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        optimizer.state = defaultdict(dict)
        if self.config.learning_rate_schedule is None:
            for group in optimizer.param_groups:
                group["lr"] = self.config.fine_tune_learning_rate
        self._silence_prior()
        if not self.config.restore_best:
            self._best_weights = None

    def _silence_prior(self) -> None:
        for module in self.networks.prior.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def after_check(self, *, improved: bool) -> None:
        """Keep the best weights of fine-tuning; restore them after a check without improvement."""
        if self.step < self.config.steps or not (
            self.config.restore_best or self.step == self.config.steps
        ):
            return
        # always true at the end of pre-training, where the weights are kept for any restore_best,
        # so that runs that differ in it can share the pre-training
        if improved:
            self._best_weights = {
                name: value.detach().clone() for name, value in self.networks.state_dict().items()
            }
        elif self._best_weights is not None and self.best is not None:
            self.networks.load_state_dict(self._best_weights)
            self._undone = self.step - self.best.effective_step

    def extra_state(self) -> dict[str, Any]:
        """The weights to go back to, and how many steps were undone."""
        return {"undone": self._undone, "best_weights": self._best_weights}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the state; after pre-training the prior network has no dropout."""
        self._undone = state["undone"]
        self._best_weights = state["best_weights"]
        if self.step > self.config.steps:
            self._silence_prior()
