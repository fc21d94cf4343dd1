"""Nearest class mean: of training samples for seen classes, prototypes for the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from zsl_lab.classifiers.base import (
    Classifier,
    among_features,
    check_prototypes,
    points_of,
    prototypes_of,
    rows_of,
)
from zsl_lab.classifiers.config import MeansConfig
from zsl_lab.data.batches.base import ClassSpace, PhaseDataModule, Shard
from zsl_lab.hardware import distributed
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.config import MethodConfig
from zsl_lab.nn.gaussian import squared_distances
from zsl_lab.nn.moments import ClassMoments, Second
from zsl_lab.nn.whitening import inverse_root, shrunk


class Means(Classifier):
    """Scores a class by the nearness of its centre.

    The centre of a seen class is the mean of its training samples, or lies between that and the
    method's prototype; the centre of an unseen or new class is the prototype. The nearest class
    mean is that of Mensink et al. (PAMI 2013); prototypes for unseen classes are added as in
    Changpinyo et al. (ICCV 2017).

    Args:
        config: See :class:`MeansConfig`.
        classes: The classes that the method is trained with.
        seed: Seeds generated features.

    Attributes:
        centres: Centre of each class that the method is trained with, ``[C, Z]``.
        origin: Subtracted from points and centres, ``[Z]``.
        scale: Multiplies the differences: a factor per dimension ``[Z]`` or a matrix ``[Z, Z]``.
    """

    config_class: ClassVar[type[MeansConfig]] = MeansConfig
    fitted: ClassVar[tuple[str, ...]] = ("centres", "origin", "scale")
    config: MeansConfig
    centres: Tensor
    origin: Tensor
    scale: Tensor

    def __init__(self, config: MeansConfig, classes: ClassSpace, seed: int) -> None:
        super().__init__(config, classes, seed)
        # centres of the classes that are scored now
        self.register_buffer("_present", None, persistent=False)
        self._present: Tensor | None
        self._measured: tuple[Tensor, Tensor, Tensor] | None = None

    @classmethod
    def check(
        cls, config: Any, method_class: type[ZeroShotMethod], method_config: MethodConfig
    ) -> None:
        """Check that the method has prototypes in the space of the comparison, or generates.

        Raises:
            ConfigError: It does not.
        """
        check_prototypes(config.name, config.space, method_class, method_config)

    def fit(self, method: ZeroShotMethod, data: PhaseDataModule) -> None:
        """Average the training samples of each seen class; see :meth:`Classifier.fit`."""
        fixed = self._among_features(method) or method.embedding_is_fixed
        if self._measured is None or not fixed:
            self._measured = self._measure(method, data)
        means, self.origin, self.scale = self._measured
        seen, shrinkage = method.seen_mask, self.config.shrinkage
        centres = means.clone()
        centres[~seen] = self._prototypes(method, method.semantics[~seen])
        if shrinkage > 0:
            prototypes = self._prototypes(method, method.semantics[seen])
            centres[seen] = (1 - shrinkage) * means[seen] + shrinkage * prototypes
        # networks may round differently on another device
        distributed.average([centres])
        self.centres = self._present = centres

    def _measure(
        self, method: ZeroShotMethod, data: PhaseDataModule
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Class means of the training samples, ``[C, Z]``, origin and scale, in one pass."""
        compare = self._comparison(method)
        second: Second = "none"
        if compare in ("whitened_cosine", "standardized"):
            second = "full" if compare == "whitened_cosine" else "diagonal"
        moments: ClassMoments | None = None
        shard = Shard(method.global_rank, distributed.world_size())
        for batch in data.training_batches(method.device, shard):
            points = self._points(method, batch.inputs)
            if moments is None:
                moments = ClassMoments(len(self.names), points.shape[1], second, points.device)
            moments.add(points, batch.labels)
        assert moments is not None  # a phase has training samples
        moments.share()
        means, r = moments.means(), self.config.whitening_shrinkage
        origin, scale = torch.zeros_like(means[0]), torch.ones_like(means[0])
        if compare == "whitened_cosine":
            origin, scale = means[method.seen_mask].mean(0), inverse_root(moments.within(), r)
        elif compare == "standardized":
            scale = shrunk(moments.within(), r).rsqrt()
        return means.float(), origin.float(), scale.float()

    def scores(self, method: ZeroShotMethod, features: Tensor) -> Tensor:
        """Nearness to the centre of each class, ``[B, C]``; before a fit the method's own."""
        if self._present is None:
            return method.class_scores(features)
        points, centres = self._points(method, features) - self.origin, self._present - self.origin
        if self.scale.ndim == 2:
            points, centres = points @ self.scale, centres @ self.scale
        else:
            points, centres = points * self.scale, centres * self.scale
        if self._comparison(method) in ("cosine", "whitened_cosine"):
            return normalize(points, dim=1) @ normalize(centres, dim=1).T
        return -squared_distances(points, centres)

    def set_classes(self, method: ZeroShotMethod, classes: ClassSpace) -> None:
        """Known classes keep their centres; the centre of a new class is its prototype."""
        rows, known = (part.to(self.centres.device) for part in rows_of(self.names, classes))
        present = self.centres[rows]
        if not bool(known.all()):
            semantics = torch.as_tensor(classes.semantics).to(present.device)
            with torch.no_grad():
                present[~known] = self._prototypes(method, semantics[~known])
        self._present = present

    def load_state(self, state: Mapping[str, Tensor], origin: str) -> None:
        """See :meth:`Classifier.load_state`."""
        super().load_state(state, origin)
        self._present = self.centres

    def has_shape_of(self, name: str, found: Tensor) -> bool:
        """Whether a tensor of :attr:`fitted` has a possible shape, as far as it is known."""
        if name == "centres":
            return found.ndim == 2 and len(found) == len(self.names)
        space = self.centres.shape[1]
        shapes = [(space,)] if name == "origin" else [(space,), (space, space)]
        return tuple(found.shape) in shapes

    def _comparison(self, method: ZeroShotMethod) -> Comparison:
        if self.config.compare != "auto":
            return self.config.compare
        return "whitened_cosine" if self._among_features(method) else method.comparison

    def _among_features(self, method: ZeroShotMethod) -> bool:
        return among_features(self.config.space, type(method), method.config)

    def _points(self, method: ZeroShotMethod, features: Tensor) -> Tensor:
        return points_of(method, features, self.config.space)

    def _prototypes(self, method: ZeroShotMethod, semantics: Tensor) -> Tensor:
        """Class prototypes, ``[K, Z]``, for ``[K, Q]`` semantics; see :func:`prototypes_of`."""
        config = self.config
        return prototypes_of(method, semantics, config.space, config.samples, self.seed)
