"""Class exemplars predicted from semantics (Changpinyo, Chao and Sha, ICCV 2017)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from zsl_lab.data.batches.base import Batch, ClassSpace, PhaseDataModule
from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.data.batches.stored import StoredSamples
from zsl_lab.data.normalization import Normalization
from zsl_lab.data.scaling import Scaler
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.config import MethodConfig
from zsl_lab.methods.exem.config import Constants, EXEMConfig
from zsl_lab.methods.exem.measuring import Groups, largest_axes, measure, median_skewness
from zsl_lab.methods.exem.regression import ClassRegression
from zsl_lab.methods.exem.selection import (
    Choice,
    choose,
    choose_on,
    compare,
    fewer,
    held_out,
    kernel_of,
    some_classes,
    uninformed,
)
from zsl_lab.methods.exem.whitening import Scatter, class_means, mapped
from zsl_lab.nn.moments import gram

#: most numbers in a block of samples that is read from disk, and its fewest rows
_BLOCK, _FEWEST_ROWS = 2**22, 1024
#: with normalize=auto, square roots are taken where the median skewness of the columns is above the
#: first; it is measured on at most the second number of values, but at least the third of samples
_LONG_TAILED, _MEASURED, _FEWEST_MEASURED = 0.3, 2**22, 256


class EXEM(ZeroShotMethod):
    """Scores a class by the nearness of its exemplar, which is predicted from class semantics.

    The exemplar of a seen class is mixed with the mean of its samples. Training is a single step:
    it selects the constants by leaving training classes out in turn, then fits with all classes.
    Nothing depends on the seed.

    Args:
        config: See :class:`EXEMConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
        samples: Number of training samples; None where weights will be loaded.

    Attributes:
        shift: Subtracted from features, ``[D]`` (see :class:`Scaler`).
        scale: Divides the shifted features, ``[D]``.
        semantic_shift: As ``shift``, for semantics, ``[Q]``.
        semantic_scale: As ``scale``, for semantics, ``[Q]``.
        projection: From scaled features to the whitened space, ``[D, K]``; the diagonal of the
            matrix, ``[D]``, with ``diagonal`` or no whitening and without a PCA.
        origin: Subtracted in the whitened space: the mean of the seen classes' means, ``[K]``.
        anchors: Scaled semantics of the n seen classes, ``[n, Q]``.
        centre: Mean similarity of seen classes: ``[n]`` with the RBF kernel, ``[Q]`` with the
            linear one.
        weights: From centred similarities to exemplars, ``[n, K]`` or ``[Q, K]``.
        means: Means of the seen classes in the whitened space, minus ``origin``, ``[n, K]``.
        constants: The selected shrinkage, width, ridge, mixture and offset, ``[5]``.
        rooted: With ``normalize=auto`` only: 1 if square roots are taken, else 0, ``[1]``.
        outside: Standard deviation outside the space that the training samples span, ``[1]``;
            None unless there are fewer samples than dimensions. ``projection`` then has orthogonal
            columns, and the whitened space has one more dimension: the norm of the part of a
            feature outside that space.
    """

    config_class: ClassVar[type[EXEMConfig]] = EXEMConfig
    #: there is only one step
    logs_every_step: ClassVar[bool] = True
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
    rooted: Tensor
    outside: Tensor | None

    def __init__(
        self,
        config: EXEMConfig,
        feature_dim: int,
        classes: ClassSpace,
        samples: int | None = None,
    ) -> None:
        super().__init__(config, feature_dim, classes)
        seen, semantic_dim = int(classes.seen_mask.sum()), classes.semantics.shape[1]
        anchors = min(seen, config.most_classes) if config.kernel == "rbf" else seen
        rows = anchors if config.kernel == "rbf" else semantic_dim
        shapes = {
            "shift": (feature_dim,),
            "scale": (feature_dim,),
            "semantic_shift": (semantic_dim,),
            "semantic_scale": (semantic_dim,),
            "anchors": (anchors, semantic_dim),
            "centre": (rows,),
            "constants": (5,),
            **({"rooted": (1,)} if config.normalize == "auto" else {}),
        }
        for name, shape in shapes.items():
            self._register(name, *shape)
        #: the value of ``rooted``, which a traced network must not read
        self._takes_roots = False
        axes = min(config.pca or feature_dim, feature_dim)
        spans = samples is not None and samples < axes and config.whitening != "diagonal"
        if samples is not None and spans:
            axes = samples
        self._register_space(feature_dim, rows, seen, axes, spans=spans)
        self.scale.fill_(1)
        self.semantic_scale.fill_(1)
        self._seen_names = [
            name for name, is_seen in zip(classes.names, classes.seen_mask, strict=True) if is_seen
        ]
        self.register_buffer("_mean_of_class", self._rows_of_means(classes), persistent=False)
        self._mean_of_class: Tensor

    def _register(self, name: str, *shape: int) -> None:
        # a parameter without gradients: stored with the weights, set in closed form
        self.register_parameter(name, nn.Parameter(torch.zeros(shape), requires_grad=False))

    def _register_space(self, dim: int, rows: int, seen: int, axes: int, *, spans: bool) -> None:
        """Register the parameters whose shape depends on the whitened space.

        Args:
            dim: D.
            rows: Rows of :attr:`weights`.
            seen: Number of seen classes.
            axes: Columns of :attr:`projection`.
            spans: Whether these columns span the training samples only, not all dimensions.
        """
        space = axes + 1 if spans else axes
        config = self.config
        diagonal = config.whitening != "full" and config.pca is None and not spans
        self._register("projection", *((dim,) if diagonal else (dim, axes)))
        self._register("origin", space)
        self._register("weights", rows, space)
        self._register("means", seen, space)
        if spans:
            self._register("outside", 1)
        else:
            self.register_parameter("outside", None)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **options: Any
    ) -> None:
        """Load weights, also those of a whitened space that was fitted to few samples.

        Of a diagonal projection that was stored as a matrix, only the diagonal is loaded.
        """
        key = f"{prefix}projection"
        projection = state_dict.get(key)
        if f"{prefix}outside" in state_dict and isinstance(projection, Tensor):
            dim, axes = self.projection.shape[0], int(projection.shape[-1])
            if axes < dim:
                self._register_space(dim, len(self.weights), len(self.means), axes, spans=True)
        if self.projection.ndim == 1 and isinstance(projection, Tensor) and projection.ndim == 2:
            state_dict[key] = projection.diagonal().clone()
        super()._load_from_state_dict(state_dict, prefix, *args, **options)
        self._takes_roots = self.config.normalize == "auto" and bool(self.rooted)

    @classmethod
    def build(
        cls,
        config: MethodConfig,
        data: PhaseDataModule,
        *,
        cache_dir: Path | None = None,
        weights_follow: bool = False,
    ) -> EXEM:
        """Construct the method; with fewer samples than dimensions, for the space they span."""
        assert isinstance(config, EXEMConfig)
        assert isinstance(data, FeatureDataModule)
        return cls(config, data.feature_dim, data.classes, len(data.split.train))

    @property
    def total_steps(self) -> int:
        """One step, which selects the constants and fits."""
        return 1

    def batch_size_at(self, step: int) -> int | None:
        """None: all training samples at once."""

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
        """Score other classes from now on; training classes among them are recognised by name."""
        super().set_classes(classes, cache_dir=cache_dir)
        self._mean_of_class = self._rows_of_means(classes).to(self.device)

    # ------------------------------------------------------------------------------- scores

    def exemplars(self) -> Tensor:
        """The exemplar of every class in the whitened space, minus :attr:`origin`, ``[C, K]``."""
        predicted = self.prototypes(self.semantics)
        mixture = self.constants[3]
        own = self.means[self._mean_of_class.clamp(min=0)]
        known = (self._mean_of_class >= 0)[:, None]
        return torch.where(known, mixture * own + (1 - mixture) * predicted, predicted)

    def prototypes(self, semantics: Tensor) -> Tensor:
        """Exemplars that the regression predicts, without the own means of seen classes.

        Args:
            semantics: ``[K, Q]``, scaled like those of the benchmark.

        Returns:
            Points of the whitened space, minus :attr:`origin`, ``[K, Z]``.
        """
        scaled = self._semantic_scaler().apply(semantics)
        kernel = kernel_of(self.config.kernel, float(self.constants[1]), self.anchors)
        similarities = scaled if kernel is None else kernel(scaled, self.anchors)
        return (similarities - self.centre) @ self.weights

    def embed(self, features: Tensor) -> Tensor:
        """Whitened features, see :meth:`whitened`."""
        return self.whitened(features)

    @property
    def comparison(self) -> Comparison:
        """Distance or cosine, as ``method.distance`` says."""
        return "distance" if self.config.distance == "euclidean" else "cosine"

    def whitened(self, features: Tensor) -> Tensor:
        """``[B, D]`` features in the whitened space, minus :attr:`origin`, ``[B, K]``."""
        scaled = self._scaler().apply(features)
        inside = mapped(scaled, self.projection)
        if self.outside is None:
            return inside - self.origin
        # a column divides by a standard deviation, which is 1 over its norm
        norms = self.projection.norm(dim=0).clamp(min=torch.finfo(inside.dtype).tiny)
        squares = scaled.square().sum(1) - (inside / norms).square().sum(1)
        # a remainder below rounding error counts as 0
        rounding = 1e-6 * scaled.square().sum(1)
        rest = squares.where(squares > rounding, 0.0).sqrt() / self.outside
        return torch.cat([inside, rest[:, None]], dim=1) - self.origin

    def class_scores(self, features: Tensor) -> Tensor:
        """Nearness to each class's exemplar, ``[B, C]``; unseen classes have the offset added."""
        x, exemplars = self.whitened(features), self.for_batches(self.exemplars)
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
        """Select the constants, then fit with all training samples.

        Returns:
            ``total``: squared error of the seen classes' exemplars in the whitened space, averaged
            over classes and dimensions; the selected constants; and, if classes were left out, the
            AUSUC and harmonic mean on them, in percent.
        """
        semantics = self.semantics[self.seen_mask]
        if isinstance(batch, StoredSamples) and self.outside is None:
            rotation, choice, means, scatter = self._measure_blocks(batch, semantics)
        else:
            rotation, choice, means, scatter = self._measure(batch, semantics)
        constants = choice.constants
        if self.outside is None:
            whitening = scatter.whitening(constants.shrinkage)
            whitened = mapped(means.double(), whitening)
        else:
            whitening = scatter.eigen_whitening(constants.shrinkage)
            self.outside.fill_(scatter.deviation_outside(constants.shrinkage))
            # the means are in the space of the samples
            whitened = torch.nn.functional.pad(mapped(means.double(), whitening), (0, 1))
        projection = whitening if rotation is None else mapped(rotation.double(), whitening)
        self.projection.copy_(projection)
        self.origin.copy_(whitened.mean(0))
        self.means.copy_(whitened - whitened.mean(0))
        self._fit_regression(semantics, whitened, constants)
        return self._record(choice, semantics)

    def _measure(
        self, batch: Batch, semantics: Tensor
    ) -> tuple[Tensor | None, Choice, Tensor, Scatter]:
        """Rotation of the features, the selected constants, class means and scatter."""
        labels = self._mean_of_class[batch.labels]
        inputs = batch.inputs
        if self.config.normalize == "auto":
            self._choose_scaling(inputs[torch.argsort(batch.rows)[:: _stride(*inputs.shape)]])
        self._fit_scalers(Scaler.fit(self._scaling, inputs.cpu().numpy()))
        features = self._scaler().apply(inputs)
        rotation = self._rotation(features)
        reduced = features if rotation is None else features @ rotation
        dimension = features.shape[1] if self.outside is not None else None
        choice = self._choose(reduced, labels, semantics, dimension)
        means = class_means(reduced, labels, len(semantics))
        scatter = Scatter.measure(reduced, labels, means, self.config.whitening, dimension)
        return rotation, choice, means, scatter

    def _measure_blocks(
        self, batch: StoredSamples, semantics: Tensor
    ) -> tuple[Tensor | None, Choice, Tensor, Scatter]:
        """As :meth:`_measure`, for samples on disk, in three or four passes over them."""
        config = self.config
        rows = max(_FEWEST_ROWS, _BLOCK // len(self.shift))
        if config.normalize == "auto":
            self._choose_scaling(batch.every(_stride(len(batch.labels), len(self.shift))))
        self._fit_scalers(
            Scaler.fit_blocks(
                self._scaling,
                (block.inputs.cpu().numpy() for block in batch.blocks(rows)),
                len(self.shift),
            )
        )
        scaler, rotation = self._scaler(), None

        def samples() -> Iterator[tuple[Tensor, Tensor]]:
            start = 0
            for block in batch.blocks(rows):
                numbers = torch.arange(start, start + len(block.labels), device=self.device)
                features = scaler.apply(block.inputs)
                yield numbers, features if rotation is None else features @ rotation
                start += len(numbers)

        if config.pca is not None:
            rotation = largest_axes(samples, self.projection.shape[1])
        labels = self._mean_of_class[batch.labels]
        groups = self._groups(labels, batch.order, len(semantics))
        found = measure(samples, labels, len(semantics), config.whitening, groups)
        if groups is None or found.held is None:
            choice = uninformed(config.candidates)
        else:
            chosen = semantics[groups.classes]
            choice = choose_on(found.held, chosen, config.candidates, config.settings)
        return rotation, choice, found.means, found.scatter

    def _groups(self, labels: Tensor, order: Tensor, classes: int) -> Groups | None:
        """The samples that constants are selected on, the same ones as in :meth:`_choose`.

        Args:
            labels: Class of each sample, ``[N]``.
            order: The samples in the order of the split, on which the random draw depends.
            classes: Number of training classes.
        """
        some = self._some_classes(classes, labels.device)
        members = torch.arange(classes, device=labels.device) if some is None else some
        taken = order[torch.isin(labels[order], members)]
        held = held_out(torch.searchsorted(members, labels[taken]))
        if not held.any():
            return None
        kept, scored = torch.zeros_like(labels).bool(), torch.zeros_like(labels).bool()
        kept[taken[~held]] = True
        scored[taken[fewer(held, len(members))]] = True
        return Groups(kept, scored, members)

    def _some_classes(self, classes: int, device: torch.device) -> Tensor | None:
        """Classes that the constants are chosen on, with a warning; None for all."""
        config = self.config
        some = some_classes(classes, config.most_classes, device)
        if some is not None:
            warnings.warn(
                f"method={config.name}: the constants are chosen on {len(some)} of the "
                f"{classes} training classes, drawn with a fixed seed; the exemplars are "
                "fitted to all of them. method.most_classes sets how many.",
                stacklevel=2,
            )
        return some

    def _choose(
        self, features: Tensor, labels: Tensor, semantics: Tensor, dimension: int | None
    ) -> Choice:
        """Choose the constants on all training classes, or on some where there are many."""
        config = self.config
        some = self._some_classes(len(semantics), labels.device)
        if some is not None:
            place = labels.new_full((len(semantics),), -1)
            place[some] = torch.arange(len(some), device=labels.device)
            kept = place[labels] >= 0
            features, labels, semantics = features[kept], place[labels[kept]], semantics[some]
        return choose(features, labels, semantics, config.candidates, config.settings, dimension)

    def _fit_regression(self, semantics: Tensor, whitened: Tensor, constants: Constants) -> None:
        """Fit :attr:`weights` to ``[n, K]`` whitened class means, given ``[n, Q]`` semantics."""
        scaled = self._semantic_scaler().apply(semantics)
        some = some_classes(len(scaled), len(self.anchors), scaled.device)
        self.anchors.copy_(scaled if some is None else scaled[some])
        anchors = None if some is None else self.anchors
        kernel = kernel_of(self.config.kernel, constants.width, self.anchors.double())
        regression = ClassRegression(scaled, kernel, anchors)
        self.centre.copy_(regression.centre)
        self.weights.copy_(regression.weights(whitened, constants.ridge))

    def _choose_scaling(self, rows: Tensor) -> None:
        """Take square roots where columns of ``rows`` have long tails."""
        self._takes_roots = median_skewness(rows) > _LONG_TAILED
        self.rooted.fill_(self._takes_roots)

    @property
    def _scaling(self) -> Normalization:
        if self.config.normalize == "auto":
            return "minmax_sqrt" if self._takes_roots else "none"
        return self.config.normalize

    def _scaler(self) -> Scaler:
        return Scaler(self._scaling, self.shift, self.scale)

    def _fit_scalers(self, scaler: Scaler) -> None:
        """Keep the scaler of the features, and fit that of the semantics."""
        semantics = self.semantics[self.seen_mask].cpu().numpy()
        of_semantics = Scaler.fit(self.config.normalize_semantics, semantics)
        self.shift.copy_(scaler.shift)
        self.scale.copy_(scaler.scale)
        self.semantic_shift.copy_(of_semantics.shift)
        self.semantic_scale.copy_(of_semantics.scale)

    def _rotation(self, features: Tensor) -> Tensor | None:
        """Orthonormal directions that scaled features are projected to, ``[D, K]``; None for all.

        With a PCA, the directions of largest variance. With fewer samples than dimensions, a basis
        of the space that they span, which loses nothing.
        """
        if self.outside is not None:
            basis: Tensor = torch.linalg.qr(features.T).Q
            return basis
        if self.config.pca is None:
            return None
        centred = features - features.mean(0)
        count = self.projection.shape[1]
        if len(centred) >= centred.shape[1]:
            _, axes = torch.linalg.eigh((centred.T @ centred).double())
            largest: Tensor = axes[:, -count:]
            return largest.to(features.dtype)
        # the same directions from the smaller product
        values, vectors = torch.linalg.eigh(gram(centred))
        values, vectors = values[-count:], vectors[:, -count:].to(features.dtype)
        tiny = values.max() * len(centred) * torch.finfo(values.dtype).eps
        gains = torch.where(values > tiny, values.rsqrt(), 0.0).to(features.dtype)
        found: Tensor = centred.T @ vectors * gains
        # components that the samples do not have are 0
        return torch.nn.functional.pad(found, (count - found.shape[1], 0))

    def _record(self, choice: Choice, semantics: Tensor) -> dict[str, Tensor]:
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
        if self.config.normalize == "auto":
            chosen["rooted"] = float(self._takes_roots)
        error = (self.prototypes(semantics) - self.means).square().mean()
        reached = {"left_out_ausuc": choice.ausuc, "left_out_h": choice.harmonic_mean}
        known = {name: value for name, value in reached.items() if value == value}
        logged = {name: error.new_tensor(value) for name, value in {**chosen, **known}.items()}
        return {"total": error, **logged}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """No optimiser: the fit is in closed form."""
        return []


def _stride(samples: int, dimensions: int) -> int:
    """Distance, in the order of the file, between the samples that skewness is measured on."""
    return -(-samples // max(_FEWEST_MEASURED, _MEASURED // dimensions))
