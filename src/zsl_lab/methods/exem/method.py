"""Class exemplars predicted from semantics (Changpinyo, Chao and Sha, ICCV 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.data.scaling import Scaler
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.exem.config import EXEMConfig
from zsl_lab.methods.exem.regression import ClassRegression
from zsl_lab.methods.exem.selection import Choice, choose, compare, kernel_of
from zsl_lab.methods.exem.whitening import Scatter, class_means


class EXEM(ZeroShotMethod):
    """Nearest class exemplar: predicted for unseen classes, mixed with the own mean for seen ones.

    One step does all: it chooses the constants on training classes that are left out in turn, then
    fits with all of them. The seed changes nothing.

    Args:
        config: See :class:`EXEMConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.

    Attributes:
        shift: Subtracted from features first, ``[D]`` (see :class:`Scaler`).
        scale: They are divided by it then, ``[D]``.
        semantic_shift: The same for semantics, ``[Q]``.
        semantic_scale: Likewise.
        projection: From scaled features to the whitened space, ``[D, K]``.
        origin: What is subtracted there, the mean of the seen classes' means, ``[K]``.
        anchors: Scaled semantics of the n seen classes, ``[n, Q]``.
        centre: Mean similarity of seen classes, ``[n]`` of a kernel, ``[Q]`` of the linear one.
        weights: From centred similarities to exemplars, ``[n, K]`` or ``[Q, K]``.
        means: Means of the seen classes in the whitened space about ``origin``, ``[n, K]``.
        constants: Shrinkage, width, ridge, mixture and offset that were chosen, ``[5]``.
    """

    config_class: ClassVar[type[EXEMConfig]] = EXEMConfig
    config: EXEMConfig
    shift: Tensor
    scale: Tensor
    semantic_shift: Tensor
    semantic_scale: Tensor
    projection: Tensor
    origin: Tensor
    anchors: Tensor
    centre: Tensor
    weights: Tensor
    means: Tensor
    constants: Tensor

    def __init__(self, config: EXEMConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        seen, semantic_dim = int(classes.seen_mask.sum()), classes.semantics.shape[1]
        space = min(config.pca or feature_dim, feature_dim)
        rows = seen if config.kernel == "rbf" else semantic_dim
        shapes = {
            "shift": (feature_dim,),
            "scale": (feature_dim,),
            "semantic_shift": (semantic_dim,),
            "semantic_scale": (semantic_dim,),
            "projection": (feature_dim, space),
            "origin": (space,),
            "anchors": (seen, semantic_dim),
            "centre": (rows,),
            "weights": (rows, space),
            "means": (seen, space),
            "constants": (5,),
        }
        for name, shape in shapes.items():
            # parameters that no gradient reaches: they are what training determines
            self.register_parameter(name, nn.Parameter(torch.zeros(shape), requires_grad=False))
        self.scale.fill_(1)
        self.semantic_scale.fill_(1)
        self._seen_names = [
            name for name, is_seen in zip(classes.names, classes.seen_mask, strict=True) if is_seen
        ]
        self.register_buffer("_mean_of_class", self._rows_of_means(classes), persistent=False)
        self._mean_of_class: Tensor

    @property
    def total_steps(self) -> int:
        """One: choose the constants and fit."""
        return 1

    def batch_size_at(self, step: int) -> int | None:
        """All training samples."""

    def _rows_of_means(self, classes: ClassSpace) -> Tensor:
        """Row of :attr:`means` of each class; -1 for a class that was not trained on."""
        row = {name: at for at, name in enumerate(self._seen_names)}
        return torch.tensor(
            [
                row.get(name, -1) if seen else -1
                for name, seen in zip(classes.names, classes.seen_mask, strict=True)
            ]
        )

    def set_classes(self, classes: ClassSpace, *, cache_dir: Path | None = None) -> None:
        """Score other classes from now on; those that were trained on are known by their names."""
        super().set_classes(classes, cache_dir=cache_dir)
        self._mean_of_class = self._rows_of_means(classes).to(self.device)

    # ------------------------------------------------------------------------------- scores

    def exemplars(self) -> Tensor:
        """The exemplar of every class in the whitened space about :attr:`origin`, ``[C, K]``."""
        predicted = self.prototypes(self.semantics)
        mixture = self.constants[3]
        own = self.means[self._mean_of_class.clamp(min=0)]
        known = (self._mean_of_class >= 0)[:, None]
        return torch.where(known, mixture * own + (1 - mixture) * predicted, predicted)

    def prototypes(self, semantics: Tensor) -> Tensor:
        """Exemplars that the regression predicts, without any class's own mean, ``[K, K']``.

        Args:
            semantics: ``[K, Q]``, scaled as the benchmark's are.

        Returns:
            In the whitened space about :attr:`origin`, of dimension K'.
        """
        scaled = self._semantic_scaler().apply(semantics)
        kernel = kernel_of(self.config.kernel, float(self.constants[1]), self.anchors)
        similarities = scaled if kernel is None else kernel(scaled, self.anchors)
        return (similarities - self.centre) @ self.weights

    def embed(self, features: Tensor) -> Tensor:
        """See :meth:`whitened`."""
        return self.whitened(features)

    @property
    def comparison(self) -> Comparison:
        """Distance or cosine, as ``method.distance`` says."""
        return "distance" if self.config.distance == "euclidean" else "cosine"

    def whitened(self, features: Tensor) -> Tensor:
        """``[B, D]`` features in the whitened space about :attr:`origin`, ``[B, K]``."""
        scaled = Scaler(self.config.normalize, self.shift, self.scale).apply(features)
        return scaled @ self.projection - self.origin

    def class_scores(self, features: Tensor) -> Tensor:
        """Nearness to each class's exemplar; the offset is added to unseen classes; ``[B, C]``."""
        x, exemplars = self.whitened(features), self.exemplars()
        scores = compare(
            x @ exemplars.T, x.square().sum(1), exemplars.square().sum(1), self.config.distance
        )
        return scores + self.constants[4] * ~self.seen_mask

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Whitened features and exemplars, ``([B, K], [C, K])``; rows of norm 1 if by cosine."""
        points = self.whitened(features), self.exemplars()
        if self.config.distance == "euclidean":
            return points
        return normalize(points[0], dim=1), normalize(points[1], dim=1)

    def _semantic_scaler(self) -> Scaler:
        return Scaler(self.config.normalize_semantics, self.semantic_shift, self.semantic_scale)

    # ------------------------------------------------------------------------------- fitting

    @torch.no_grad()
    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """Choose the constants, then fit with all training samples.

        Returns:
            ``total``: squared error of the seen classes' exemplars in the whitened space, averaged
            over classes and dimensions; the constants that were chosen; and the AUSUC and H, in
            percent, that they reached on classes that were left out, where any were.
        """
        labels = self._mean_of_class[batch.labels]
        self._fit_scalers(batch.inputs)
        features = Scaler(self.config.normalize, self.shift, self.scale).apply(batch.inputs)
        rotation = self._principal_axes(features)
        reduced = features if rotation is None else features @ rotation
        semantics = self.semantics[self.seen_mask]
        choice = choose(reduced, labels, semantics, self.config.candidates, self.config.settings)
        constants = choice.constants
        means = class_means(reduced, labels, len(semantics))
        scatter = Scatter.measure(reduced, labels, means, self.config.whitening)
        whitening = scatter.whitening(constants.shrinkage)
        projection = whitening if rotation is None else rotation.double() @ whitening
        whitened = means.double() @ whitening
        self.projection.copy_(projection)
        self.origin.copy_(whitened.mean(0))
        self.means.copy_(whitened - whitened.mean(0))
        self.anchors.copy_(self._semantic_scaler().apply(semantics))
        kernel = kernel_of(self.config.kernel, constants.width, self.anchors.double())
        regression = ClassRegression(self.anchors, kernel)
        self.centre.copy_(regression.centre)
        self.weights.copy_(regression.weights(whitened, constants.ridge))
        return self._record(choice, regression.smoothing(self.anchors, constants.ridge) @ whitened)

    def _fit_scalers(self, features: Tensor) -> None:
        scaler = Scaler.fit(self.config.normalize, features.cpu().numpy())
        semantics = self.semantics[self.seen_mask].cpu().numpy()
        of_semantics = Scaler.fit(self.config.normalize_semantics, semantics)
        self.shift.copy_(scaler.shift)
        self.scale.copy_(scaler.scale)
        self.semantic_shift.copy_(of_semantics.shift)
        self.semantic_scale.copy_(of_semantics.scale)

    def _principal_axes(self, features: Tensor) -> Tensor | None:
        """Directions of largest variance, ``[D, K]``; None where no PCA is asked for."""
        if self.config.pca is None:
            return None
        centred = features - features.mean(0)
        _, axes = torch.linalg.eigh((centred.T @ centred).double())
        largest: Tensor = axes[:, -self.projection.shape[1] :]
        return largest.to(features.dtype)

    def _record(self, choice: Choice, fitted: Tensor) -> dict[str, Tensor]:
        constants = choice.constants
        offset = choice.offset if self.config.calibrate else 0.0
        chosen = {
            "shrinkage": constants.shrinkage,
            "width": constants.width,
            "ridge": constants.ridge,
            "mixture": constants.mixture,
            "offset": offset,
        }
        self.constants.copy_(torch.tensor(list(chosen.values())))
        error = (fitted - self.origin - self.means).square().mean()
        reached = {"left_out_ausuc": choice.ausuc, "left_out_h": choice.harmonic_mean}
        known = {name: value for name, value in reached.items() if value == value}
        logged = {name: error.new_tensor(value) for name, value in {**chosen, **known}.items()}
        return {"total": error, **logged}

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Fit, and log the one step whatever ``trainer.log_every_n_steps`` says."""
        self._take_step(batch)
        self._log_losses()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """None: there is nothing to descend."""
        return []
