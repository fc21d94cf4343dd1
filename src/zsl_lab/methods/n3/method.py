"""N3: neural networks from natural language (ICLR 2020 submission, sections 3 and 4.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, normalize
from torchmetrics.classification import MulticlassAveragePrecision

from zsl_lab.data.batches.base import Batch, ClassSpace, PhaseDataModule
from zsl_lab.data.batches.images import ImageDataModule
from zsl_lab.extraction.backbones import AdaptedTensor, BaseNetwork
from zsl_lab.hardware import distributed
from zsl_lab.methods.base import ExportedNetwork, ZeroShotMethod
from zsl_lab.methods.config import MethodConfig
from zsl_lab.methods.n3.adapted_network import build_base_network
from zsl_lab.methods.n3.config import N3Config
from zsl_lab.methods.n3.generator import (
    Adaptation,
    MeanEncoder,
    ParameterAdapter,
    SemanticEncoder,
    mean_state,
)
from zsl_lab.methods.n3.paragraphs import encode_descriptions
from zsl_lab.methods.n3.plots import TensorNorms
from zsl_lab.metrics import PerClassAccuracy
from zsl_lab.nn.whitening import within_class_whitening
from zsl_lab.text import CONFIGURATION, TokenStates

#: training images that features are measured on, evenly spaced where there are more
MEASURED_IMAGES = 4096
#: tested images whose features are compared with those of the base network
_NORMED_IMAGES = 500
#: for messages where a checkpoint brings the encoder: only the model's path can be set
_OF_CHECKPOINT = replace(
    CONFIGURATION,
    encoder="The checkpoint's method.text.encoder=",
    max_tokens="The checkpoint's method.text.max_tokens=",
    uninstalled="take a checkpoint with another encoder: that of a checkpoint cannot be changed",
    unloadable=(
        "Either give the folder of the model that the checkpoint was trained with, "
        "method.text.model=FOLDER on the command line, or take a "
        "checkpoint with another encoder."
    ),
    limit="Either give the folder of the model that the checkpoint was trained with, "
    "method.text.model=FOLDER, or take another checkpoint.",
    longer="take a checkpoint with a higher method.text.max_tokens",
    another="take a checkpoint with another method.text.encoder",
)


class N3(ZeroShotMethod):
    """Generates, from descriptions of classes, a network that classifies among these classes.

    Args:
        config: See :class:`N3Config`.
        base: The network that is adapted.
        text: Token states of the classes' descriptions, row ``c`` for class position ``c``, as
            :func:`encode_descriptions` gives them.
        classes: The classes and which of them are seen.
    """

    config_class: ClassVar[type[N3Config]] = N3Config
    takes: ClassVar[Literal["features", "images"]] = N3Config.takes
    config: N3Config

    def __init__(
        self, config: N3Config, base: BaseNetwork, text: TokenStates, classes: ClassSpace
    ) -> None:
        super().__init__(config, base.feature_dim, classes)
        self.base = base
        # not part of the weights: see set_classes
        self.register_buffer("states", torch.from_numpy(text.states), persistent=False)
        self.register_buffer("token_mask", torch.from_numpy(text.mask), persistent=False)
        self.states: Tensor
        self.token_mask: Tensor
        self.semantic_encoder: SemanticEncoder | MeanEncoder
        if config.pool != "attention":
            seen_mean = mean_state(self.states, self.token_mask)[self.seen_mask].mean(0)
            self.semantic_encoder = MeanEncoder(seen_mean, config.hidden_dim, config.pool_noise)
        else:
            self.semantic_encoder = SemanticEncoder(
                text.states.shape[2],
                config.hidden_dim,
                config.sem_layers,
                config.heads,
                config.dropout,
                config.state_dropout,
            )
        self.adapter = ParameterAdapter(
            _adapted_tensors(config, base),
            base.feature_dim,
            config.hidden_dim,
            config.encoder_layers,
            config.decoder_layers,
            config.heads,
            config.dropout,
            config.mu,
            config.gradient_checkpointing,
        )
        # stored with the weights: the generated classifier is made for this centre and whitening
        self.register_buffer("centre", torch.zeros(base.feature_dim))
        self.centre: Tensor
        self.register_buffer(
            "whitening",
            torch.eye(base.feature_dim) if config.compare_by == "whitened_cosine" else None,
        )
        self.whitening: Tensor | None
        # tells the seen classes apart while the base network is trained in the run
        self.base_classifier = (
            nn.Linear(base.feature_dim, len(classes.seen_mask)) if config.base_steps else None
        )
        base.requires_grad_(self.base_classifier is not None)
        self._seen_texts = _seen_texts(classes)
        self._networks: dict[str, list[tuple[Tensor, Adaptation]]] = {}
        self.accuracies = [PerClassAccuracy(len(self.unseen)) for _ in range(config.permutations)]
        self.registered_accuracies = nn.ModuleList(
            self.accuracies
        )  # these move with the method to its device
        self.top5 = PerClassAccuracy(len(self.unseen))
        self.average_precision = MulticlassAveragePrecision(max(2, len(self.unseen)))
        self._orders = 1
        # of tested images of unseen classes, the norm of the features before and after adaptation
        self._feature_norms: list[Tensor] = []

    @classmethod
    def build(
        cls,
        config: MethodConfig,
        data: PhaseDataModule,
        *,
        cache_dir: Path | None = None,
        weights_follow: bool = False,
    ) -> N3:
        """Encode the descriptions of the phase's classes, and load the base network."""
        assert isinstance(config, N3Config)
        assert isinstance(data, ImageDataModule)
        data.draw_tasks(config.classes_per_task)
        method = cls.empty_for_checkpoint(
            config, data.channels, data.classes, cache_dir=cache_dir, load=not weights_follow
        )
        if not weights_follow and not config.base_steps:
            method._measure_features(data)
        return method

    @classmethod
    def empty_for_checkpoint(
        cls,
        config: MethodConfig,
        inputs: int,
        classes: ClassSpace,
        *,
        cache_dir: Path | None = None,
        load: bool = False,
    ) -> N3:
        """Encode the classes' descriptions and build the base network.

        ``load`` says whether to read the initial weights of the base network.
        """
        assert isinstance(config, N3Config)
        states = encode_descriptions(
            config,
            classes.descriptions,
            cache_dir,
            fit_on=_seen_texts(classes),
            terms=CONFIGURATION if load else _OF_CHECKPOINT,
        )
        return cls(config, build_base_network(config.base, inputs, load=load), states, classes)

    def set_classes(self, classes: ClassSpace, *, cache_dir: Path | None = None) -> None:
        """Encode the descriptions of other classes, as those of the training classes were."""
        super().set_classes(classes, cache_dir=cache_dir)
        text = encode_descriptions(
            self.config,
            classes.descriptions,
            cache_dir,
            fit_on=self._seen_texts,
            terms=_OF_CHECKPOINT,
            expected=self.states.shape[1],
        )
        self.states = torch.from_numpy(text.states).to(self.device)
        self.token_mask = torch.from_numpy(text.mask).to(self.device)
        self._networks = {}
        with torch.no_grad():
            self._networks = {"all": self._network("all")}

    @torch.no_grad()
    def _measure_features(self, data: ImageDataModule) -> None:
        """Set centre and whitening from the training features; nothing without whitening."""
        if self.whitening is None:
            return
        train = data.split.train
        some = train[:: -(-len(train) // MEASURED_IMAGES)]
        batches = list(data.evaluation_batches(some, self.device))
        features = torch.cat([self.base(batch.inputs) for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        self.centre.copy_(features.mean(0))
        self.whitening.copy_(within_class_whitening(features, labels, self.config.shrinkage))

    # ------------------------------------------------------------------------------- generation

    def adapt(self, classes: Tensor) -> Adaptation:
        """Generate the parameters for a task.

        Args:
            classes: Positions of the task's classes, ``[k]``, in the order of the logits.
        """
        mask = self.token_mask[classes]
        if self.training and self.config.word_dropout:
            kept = torch.rand(mask.shape, device=mask.device) >= self.config.word_dropout
            kept[..., 0] = True  # a text never loses all its words
            mask = mask & kept
        embeddings = self.semantic_encoder(self.states[classes], mask)
        adaptation: Adaptation = self.adapter(embeddings)
        return adaptation

    def logits(self, images: Tensor, adaptation: Adaptation) -> Tensor:
        """Classify with the adapted network: ``W = gamma * W_pre + mu * DeltaW`` (Eq. 4).

        Args:
            images: uint8 ``[B, channels, height, width]``.
            adaptation: As :meth:`adapt` gives it.

        Returns:
            ``[B, k]``.
        """
        features: Tensor = functional_call(self.base, self._adapted(adaptation), (images,))
        weight, bias = self._classifier(adaptation)
        logits = features @ weight.T + bias
        if self.config.compare_by == "inner_product":
            return logits
        compared = features if self.whitening is None else (features - self.centre) @ self.whitening
        cosines: Tensor = logits / compared.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return cosines

    def _classifier(self, adaptation: Adaptation) -> tuple[Tensor, Tensor]:
        """Weight ``[k, F]`` and bias ``[k]`` of the linear layer equivalent to :meth:`logits`."""
        rows = adaptation.classifier
        if self.config.compare_by == "inner_product":
            return self.config.scale * rows, rows.new_zeros(len(rows))
        rows = self.config.scale * normalize(rows, dim=1)
        if self.whitening is None:
            return rows, rows.new_zeros(len(rows))
        weight = rows @ self.whitening.T
        return weight, -weight @ self.centre

    def _adapted(self, adaptation: Adaptation) -> dict[str, Tensor]:
        """The base network's parameters with the deltas added."""
        # no gradient flows into the base network itself
        given = {name: tensor.detach() for name, tensor in self.base.named_parameters()}
        adapted = {
            name: self.config.gamma * given[name] + delta
            for name, delta in adaptation.deltas.items()
        }
        return {**given, **adapted}

    def export(self) -> ExportedNetwork:
        """The network adapted to the present classes (see :meth:`state_of`)."""
        with torch.no_grad():
            every = torch.arange(len(self.seen_mask), device=self.device)
            return ExportedNetwork(self.state_of(self.adapt(every)), self.base.description)

    def state_of(self, adaptation: Adaptation) -> dict[str, Tensor]:
        """The adapted network with its classifier as a plain state dict.

        The names are those of torchvision, or of timm for EfficientNet-Lite.

        ``resnet18(num_classes=k)`` and ``googlenet(num_classes=k, aux_logits=False)``, and timm's
        ``tf_efficientnet_lite0`` to ``2`` with ``num_classes=k``, load it and give the same logits
        for images in [0, 1] less the base network's ``mean``, divided by its ``std``; by cosine,
        logits that rank classes alike. So does ``squeezenet1_1(num_classes=k)`` after
        ``classifier[2] = nn.Identity()``: torchvision's applies a ReLU there, before it averages
        the logits over positions. With ``base.stages``, no network of these packages can load it:
        the classifier is for the averages of those stages, and its tensors are called
        ``classifier.weight`` and ``classifier.bias``.

        Args:
            adaptation: As :meth:`adapt` gives it.

        Returns:
            Copies of the tensors on the CPU. Those of ``small_cnn`` include ``classifier.weight``
            and ``classifier.bias``.
        """
        state = {
            **self.base.state_dict(),
            **self._adapted(adaptation),
            **self.base.classifier_state(*self._classifier(adaptation)),
        }
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}

    def class_scores(self, features: Tensor) -> Tensor:
        """Log-probabilities of the network generated for all classes, ``[B, C]``."""
        _, adaptation = self._network("all")[0]
        return self.logits(features, adaptation).log_softmax(1)

    def _network(self, kind: Literal["all", "unseen"]) -> list[tuple[Tensor, Adaptation]]:
        """Generated networks, each with the order of its classes; cached during an evaluation.

        One network for all classes, or one for each of several orders of the unseen classes.
        """
        if kind in self._networks:
            return self._networks[kind]
        if kind == "all":
            orders = [torch.arange(len(self.seen_mask), device=self.device)]
        else:
            generator = torch.Generator().manual_seed(0)
            shuffled = [
                torch.randperm(len(self.unseen), generator=generator)
                for _ in range(self._orders - 1)
            ]
            orders = [self.unseen, *(self.unseen[order.to(self.device)] for order in shuffled)]
        return [(order, self.adapt(order)) for order in orders]

    # ------------------------------------------------------------------------------- training

    @property
    def total_steps(self) -> int:
        """Steps of the base network, if it is trained in the run, and then of the generator."""
        return self.config.base_steps + self.config.steps

    @property
    def first_candidate(self) -> int:
        """One step of the generator, which is not trained while the base network is."""
        return self.config.base_steps + 1

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """One task (section 3.3): generate a network, classify a mini-batch, update."""
        if self.step < self.config.base_steps:
            return self._train_base(batch)
        if self.config.base_steps and self.step == self.config.base_steps:
            # in single precision, as with pretrained weights
            with torch.autocast(self.device.type, enabled=False):
                self._measure_features(self.trainer.datamodule)  # type: ignore[attr-defined]
                distributed.average(
                    [self.centre] if self.whitening is None else [self.centre, self.whitening]
                )
        self._set_learning_rate()
        losses = self.losses(batch)
        self.descend(losses["cross_entropy"], self._optimizers[-1])
        return losses

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy over the classes of the task, ``batch.classes``."""
        classes = batch.classes
        if classes is None:
            classes = self.seen_mask.nonzero().squeeze(1)
        position = torch.full((len(self.seen_mask),), -1, device=classes.device)
        position[classes] = torch.arange(len(classes), device=classes.device)
        logits = self.logits(batch.inputs, self.adapt(classes))
        return {"cross_entropy": cross_entropy(logits, position[batch.labels])}

    def _train_base(self, batch: Batch) -> Mapping[str, Tensor]:
        """Train a base network without weights to classify the seen classes."""
        assert self.base_classifier is not None
        loss = cross_entropy(self.base_classifier(self.base(batch.inputs)), batch.labels)
        self.descend(loss, self._optimizers[0])
        return {"base_cross_entropy": loss}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """AdamW for the generator; Adam before it if the base network is trained in the run."""
        config = self.config
        base: list[torch.optim.Optimizer] = []
        if self.base_classifier is not None:
            parameters = [*self.base.parameters(), *self.base_classifier.parameters()]
            base = [torch.optim.Adam(parameters, lr=config.base_learning_rate, fused=True)]
        parts = [*self.semantic_encoder.named_parameters(), *self.adapter.named_parameters()]
        groups: list[dict[str, Any]] = [
            {
                "params": [p for name, p in parts if name != "mu"],
                "lr": config.learning_rate,
                "weight_decay": config.weight_decay,
            },
            # Adam changes every parameter by about its learning rate: with that of the others the
            # small mu would grow tenfold in a step
            {
                "params": [p for name, p in parts if name == "mu" and p.requires_grad],
                "lr": config.mu_learning_rate,
                "weight_decay": 0.0,
            },
        ]
        for group in groups:
            group["initial_lr"] = group["lr"]
        return [
            *base,
            torch.optim.AdamW([group for group in groups if group["params"]], fused=True),
        ]

    @property
    def _optimizers(self) -> Sequence[Any]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def _set_learning_rate(self) -> None:
        """With ``decay``, the generator's learning rates fall linearly to 0 after the last step."""
        if self.config.decay:
            share = 1 - (self.step - self.config.base_steps) / self.config.steps
            for group in self._optimizers[-1].param_groups:
                group["lr"] = group["initial_lr"] * share

    def extra_state(self) -> dict[str, Any]:
        """The texts of the seen classes, which tf-idf takes its words and weights from."""
        return {**super().extra_state(), "seen_texts": self._seen_texts}

    # ------------------------------------------------------------------------------- evaluation

    def on_validation_epoch_start(self) -> None:
        """Generate the networks of this check once."""
        super().on_validation_epoch_start()
        self._prepare_evaluation(orders=1)

    def on_test_epoch_start(self) -> None:
        """Generate the networks of this test once, for several orders of the unseen classes."""
        super().on_test_epoch_start()
        self._feature_norms = []
        self._prepare_evaluation(orders=self.config.permutations)

    @torch.no_grad()
    def _prepare_evaluation(self, orders: int) -> None:
        self._orders, self._networks = orders, {}
        for metric in (*self.accuracies, self.top5, self.average_precision):
            metric.reset()
        with torch.autocast(self.device.type, enabled=False):
            self._networks = {"all": self._network("all"), "unseen": self._network("unseen")}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score among all classes, and samples of unseen classes also among these alone."""
        super().validation_step(batch, batch_idx)
        self._classify_unseen(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As :meth:`validation_step`, and keep the predictions."""
        super().test_step(batch, batch_idx)
        is_unseen, positions = self._classify_unseen(batch)
        self._measure_norms(batch.inputs[is_unseen])
        rows, gzsl, zsl = self._predictions[-1]
        zsl[is_unseen.cpu()] = positions.cpu()
        self._predictions[-1] = rows, gzsl, zsl

    def _measure_norms(self, images: Tensor) -> None:
        """Keep the feature norms of the first images, before and after adaptation (Fig. 5b)."""
        images = images[: _NORMED_IMAGES - sum(map(len, self._feature_norms))]
        if not len(images):
            return
        _, adaptation = self._network("unseen")[0]
        with torch.autocast(self.device.type, enabled=False):
            pairs = [
                self.base(images).norm(dim=1),
                functional_call(self.base, self._adapted(adaptation), (images,)).norm(dim=1),
            ]
        self._feature_norms.append(torch.stack(pairs, dim=1).cpu())

    def _classify_unseen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Classify the samples of unseen classes among the unseen classes, with every network.

        Returns:
            Which samples are of unseen classes, ``[B]``, and the class positions that the first
            network predicts for them.
        """
        is_unseen = ~self.seen_mask[batch.labels]
        first = torch.empty(0, dtype=torch.int64, device=self.device)
        if not is_unseen.any():
            return is_unseen, first
        images = batch.inputs[is_unseen]
        target = torch.searchsorted(self.unseen, batch.labels[is_unseen])
        for number, (order, adaptation) in enumerate(self._network("unseen")):
            with torch.autocast(self.device.type, enabled=False):
                logits = self.logits(images, adaptation)
            # a class without samples is no candidate of zsl_top1
            logits = logits.masked_fill(~torch.isin(order, self.metrics.zsl_ids), -torch.inf)
            predicted = order[logits.argmax(1)]
            self.accuracies[number].update(torch.searchsorted(self.unseen, predicted), target)
            if number == 0:
                first = predicted
                ranked = logits.topk(min(5, len(order)), dim=1).indices
                self.top5.update(
                    torch.where((ranked == target[:, None]).any(1), target, -1), target
                )
                if len(order) > 1:
                    self.average_precision.update(logits.softmax(1), target)
        return is_unseen, first

    def own_metrics(self) -> dict[str, float]:
        """``zsl_top1`` as in section 4.2: the median over the networks for unseen classes."""
        return {"zsl_top1": 100 * float(self._accuracies().quantile(0.5))}

    def extra_metrics(self) -> dict[str, float]:
        """The metrics of Table 6 over unseen classes, in percent; the range over several orders."""
        accuracies = 100 * self._accuracies()
        several = {
            "zsl_top1_lowest": float(accuracies.min()),
            "zsl_top1_highest": float(accuracies.max()),
        }
        return {
            "zsl_top1_per_sample": 100 * float(self.accuracies[0].per_sample())
            if len(self.metrics.zsl_ids) > 1
            else math.nan,
            # among five classes or fewer every prediction is right
            "zsl_top5": 100 * float(self.top5.compute())
            if len(self.metrics.zsl_ids) > 5
            else math.nan,
            "zsl_average_precision": 100 * float(self.average_precision.compute())
            if len(self.unseen) > 1
            else 100.0,
            **(several if self._orders > 1 else {}),
        }

    def _accuracies(self) -> Tensor:
        return torch.stack([metric.compute() for metric in self.accuracies[: self._orders]])

    def on_validation_epoch_end(self) -> None:
        """Drop the generated networks: training goes on and changes them."""
        super().on_validation_epoch_end()
        self._networks = {}

    def on_test_epoch_end(self) -> None:
        """Drop the generated networks: they do not move with the method to another device."""
        self._networks = {}

    def plots(self) -> Mapping[str, Callable[[Path], object]]:
        """How far each tensor was adapted, one by one and by type of layer."""
        from zsl_lab.methods.n3 import plots  # matplotlib is imported only to draw

        norms = self.tensor_norms()
        found: dict[str, Callable[[Path], object]] = {
            "adaptation_norms.png": lambda path: plots.adaptation_norms(norms, path),
            "adaptation_by_layer_type.png": lambda path: plots.adaptation_by_layer_type(
                norms, path
            ),
        }
        if self._feature_norms:
            before, after = torch.cat(self._feature_norms).T.numpy()
            found["penultimate_norms.png"] = lambda path: plots.penultimate_norms(
                before, after, path
            )
        return found

    @torch.no_grad()
    def tensor_norms(self) -> list[TensorNorms]:
        """Norms of the tensors and their deltas for the unseen classes (Fig. 3), in order.

        Those of batch norm have deltas of 0 where it is not adapted.
        """
        adaptation = self.adapt(self.unseen)
        tensors = (*self.base.tensors, *self.base.batch_norm_tensors)
        kinds: dict[str, str] = {tensor.name: tensor.kind for tensor in tensors}
        # without adaptation there is the classifier alone
        given = self.base.named_parameters() if adaptation.deltas else ()
        norms = []
        for name, tensor in given:
            delta = adaptation.deltas.get(name)
            if delta is not None or kinds.get(name) == "batch norm":
                gamma = 1.0 if delta is None else self.config.gamma
                added = 0.0 if delta is None else float(delta.norm())
                norms.append(TensorNorms(name, kinds[name], float(gamma * tensor.norm()), added))
        return [
            *norms,
            TensorNorms("classifier", "linear", 0.0, float(self._classifier(adaptation)[0].norm())),
        ]


def _adapted_tensors(config: N3Config, base: BaseNetwork) -> tuple[AdaptedTensor, ...]:
    """The tensors of the base network that get a delta."""
    if config.adapt == "classifier":
        return ()
    if config.adapt == "all":
        return base.tensors
    return (*base.tensors, *base.batch_norm_tensors)


def _seen_texts(classes: ClassSpace) -> list[str]:
    return [
        text
        for text, is_seen in zip(classes.descriptions, classes.seen_mask, strict=True)
        if is_seen
    ]
