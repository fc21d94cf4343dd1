"""A generated benchmark of any size whose best possible accuracy is known.

Every class has hidden factors ``u``, uniform in [-1, 1]. Its semantics are ``u A`` and the mean of
its features is ``u W`` with fixed random matrices, so the mean is a linear function of the
semantics. There are at most half as many factors as seen classes, so that the seen classes
determine this function on the unseen classes too, however large the semantics' dimension is.
Features are the mean plus isotropic Gaussian noise, and all classes are equally likely; so
choosing the nearest class mean is the Bayes classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from zsl_lab.data.benchmark import FeatureBenchmark, FloatArray, IntArray, Provenance
from zsl_lab.data.datasets.base import DataPaths, FeatureDatasetConfig
from zsl_lab.data.splits import hold_out
from zsl_lab.files.hashing import sha256_arrays

_TEST_SEEN_FRACTION = 0.2
#: number of classes from which on distances to the nearest class are measured for a part of them
_MEASURED = 2000


@dataclass(frozen=True)
class BayesAccuracy:
    """The best possible expected metrics, in percent, averaged per class.

    Attributes:
        zsl_top1: Unseen classes' samples, choosing among unseen classes.
        unseen: Unseen classes' samples, choosing among all classes.
        seen: Seen classes' samples, choosing among all classes.
        harmonic_mean: Harmonic mean of ``unseen`` and ``seen``.
    """

    zsl_top1: float
    unseen: float
    seen: float
    harmonic_mean: float


@dataclass(frozen=True, eq=False)
class World:
    """The parameters of the generator.

    Attributes:
        semantics: float32 ``[C, Q]``.
        class_means: True mean of each class's features, float32 ``[C, D]``.
        noise: Standard deviation of the noise, the same in every dimension.
        unseen_classes: Sorted ids of the unseen classes.
    """

    semantics: FloatArray
    class_means: FloatArray
    noise: float
    unseen_classes: IntArray


class SyntheticDataset(FeatureDatasetConfig):
    """Samples of Gaussian classes around a linear function of the semantics.

    Attributes:
        classes: Number of classes, seen and unseen, C.
        unseen: Number of unseen classes; at least 3 must remain seen.
        feature_dim: Dimension of a feature, D.
        semantic_dim: Dimension of a class's semantics, Q.
        samples_per_class: Number of samples of each class; of seen classes a fifth is
            ``test_seen``.
        difficulty: Standard deviation of the noise divided by half the median distance between a
            class mean and the nearest other one. At 1 about one sample in six is nearer to that
            other mean, at 0.5 one in forty.
        seed: Seed of all that is drawn.
    """

    pretrained: ClassVar[bool] = False

    classes: int = Field(ge=4, le=100_000)
    unseen: int = Field(ge=1)
    feature_dim: int = Field(ge=1, le=1_000_000)
    semantic_dim: int = Field(ge=1, le=1_000_000)
    samples_per_class: int = Field(ge=2, le=10_000_000)
    difficulty: float = Field(gt=0, le=100)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _leave_seen_classes(self) -> SyntheticDataset:
        if self.classes - self.unseen < 3:
            raise ValueError(
                f"found {self.unseen} unseen of {self.classes} classes; expected at least 3 seen "
                "ones (classes - unseen)"
            )
        return self

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """Empty: no file is read."""
        return ()

    def load(self, paths: DataPaths) -> FeatureBenchmark:
        """Draw the samples; peak memory is the features' size and a few MiB. No file is read."""
        world = self.world()
        rng = np.random.default_rng([self.seed, 1])
        n = self.samples_per_class
        labels = np.repeat(np.arange(self.classes, dtype=np.int64), n)
        features = np.empty((self.classes * n, self.feature_dim), dtype=np.float32)
        for class_id, mean in enumerate(world.class_means):
            block = features[class_id * n : (class_id + 1) * n]
            rng.standard_normal(dtype=np.float32, out=block)
            block *= np.float32(world.noise)
            block += mean
        is_unseen = np.isin(labels, world.unseen_classes)
        trainval, test_seen = hold_out(np.flatnonzero(~is_unseen), labels, _TEST_SEEN_FRACTION, rng)
        test_unseen = np.flatnonzero(is_unseen)
        return FeatureBenchmark(
            name=self.name,
            features=features,
            labels=labels,
            semantics=world.semantics,
            class_names=tuple(f"class {class_id + 1}" for class_id in range(self.classes)),
            trainval=trainval,
            test_seen=test_seen,
            test_unseen=test_unseen,
            provenance=Provenance(
                origin=f"the generator of dataset '{self.name}'",
                splits_sha256=sha256_arrays(trainval, test_seen, test_unseen),
                features_sha256=sha256_arrays(features),
                splits_version=f"generated, dataset.seed={self.seed}",
            ),
        )

    def world(self) -> World:
        """The class means and noise that samples are drawn from; features have unit variance."""
        rng = np.random.default_rng([self.seed, 0])
        factors = max(
            1, min(self.semantic_dim, self.feature_dim, (self.classes - self.unseen) // 2)
        )
        u = rng.uniform(-1, 1, (self.classes, factors))
        semantics = u @ _orthonormal_rows(rng, factors, self.semantic_dim)
        means = u @ rng.standard_normal((factors, self.feature_dim))
        noise = self.difficulty * float(np.median(_nearest_distances(means))) / 2
        scale = 1 / np.sqrt(float(means.var(axis=0).mean()) + noise**2)
        unseen = np.sort(rng.choice(self.classes, self.unseen, replace=False))
        return World(
            semantics.astype(np.float32), (means * scale).astype(np.float32), noise * scale, unseen
        )

    def bayes_accuracy(self, samples_per_class: int = 2000, seed: int = 0) -> BayesAccuracy:
        """Accuracy of the best possible rule, the nearest true class mean, on new samples.

        Args:
            samples_per_class: Number n of new samples of each class. The standard error of ``seen``
                is below ``50 / sqrt(n * seen classes)`` points; that of ``unseen`` is analogous.
            seed: Seed of these samples, which are independent of the benchmark's own.
        """
        world = self.world()
        # which mean is nearest depends only on the projection onto the space that the means span,
        # in which isotropic noise stays isotropic
        means = world.class_means.astype(np.float64)
        _, singular, rotation = np.linalg.svd(means, full_matrices=False)
        means = means @ rotation[singular > singular[0] * 1e-6].T
        rng = np.random.default_rng([self.seed, 2, seed])
        among_all, among_unseen = np.zeros(self.classes), np.zeros(self.classes)
        unseen = world.unseen_classes
        for class_id, mean in enumerate(means):
            samples = mean + world.noise * rng.standard_normal((samples_per_class, means.shape[1]))
            scores = samples @ means.T - (means**2).sum(axis=1) / 2
            among_all[class_id] = (scores.argmax(axis=1) == class_id).mean()
            among_unseen[class_id] = (unseen[scores[:, unseen].argmax(axis=1)] == class_id).mean()
        u = 100 * float(among_all[unseen].mean())
        s = 100 * float(np.delete(among_all, unseen).mean())
        harmonic = 2 * u * s / (u + s) if u + s > 0 else 0.0
        return BayesAccuracy(100 * float(among_unseen[unseen].mean()), u, s, harmonic)


def _orthonormal_rows(rng: np.random.Generator, rows: int, columns: int) -> npt.NDArray[np.float64]:
    q, _ = np.linalg.qr(rng.standard_normal((columns, rows)))
    return np.asarray(q.T)


def _nearest_distances(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distances of points ``[C, D]`` to the nearest other point, without a C x C table.

    With many points, of about 1,000 to 2,000 of them only, so that time grows linearly with C.
    """
    measured = range(0, len(points), 1 + len(points) // _MEASURED)
    nearest = np.empty(len(measured))
    for place, i in enumerate(measured):
        squares = ((points - points[i]) ** 2).sum(axis=1)
        squares[i] = np.inf
        nearest[place] = np.sqrt(squares.min())
    return nearest
