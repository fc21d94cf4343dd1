from __future__ import annotations

import csv
import resource
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig
from torch import Tensor, nn

from tests.conftest import SHORT_FIT
from tests.helpers.forked import Forked
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.data.batches.images import ImageDataModule
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.methods.n3 import N3
from zsl_lab.methods.n3.adapted_network import build_base_network
from zsl_lab.methods.n3.base_config import BaseConfig
from zsl_lab.methods.n3.config import N3Config
from zsl_lab.nn.whitening import within_class_whitening
from zsl_lab.run.config import RunConfig, parse
from zsl_lab.run.experiment import run
from zsl_lab.text import TokenStates

Configure = Callable[..., DictConfig]

C, T, E, SIDE = 6, 4, 5, 8
SEEN = np.array([True, True, False, True, False, True])


def configured(configure: Configure, *overrides: str) -> RunConfig:
    return parse(configure("method=n3", *SHORT_FIT["n3"], *overrides))


@pytest.fixture
def model(configure: Configure) -> N3:
    """Six classes, positions 2 and 4 unseen; a network whose every parameter is random."""
    return make(configured(configure, "method.dropout=0"))


def make(config: RunConfig) -> N3:
    torch.manual_seed(0)
    text = TokenStates(
        np.random.default_rng(0).standard_normal((C, T, E)).astype(np.float32),
        np.ones((C, T), dtype=bool),
    )
    classes = ClassSpace(
        np.arange(C) + 10,
        np.zeros((C, 0), dtype=np.float32),
        SEEN,
        tuple("abcdef"),
        tuple("ABCDEF"),
    )
    base = build_base_network(BaseConfig(name="small_cnn", weights=None), channels=1)
    method = config.method
    assert config.method_class is N3
    return N3(method, base, text, classes)  # type: ignore[arg-type]


def images(count: int = 3) -> Tensor:
    return torch.randint(
        0,
        256,
        (count, 1, SIDE, SIDE),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(5),
    )


def plain_forward(model: N3, x: Tensor, weights: dict[str, Tensor], classifier: Tensor) -> Tensor:
    """The small network written out, with other weights in it."""
    hidden = (x.float() / 255 - 0.5) / 0.5
    for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 1)):
        bias = dict(model.base.named_parameters())[f"{name}.bias"]
        hidden = nn.functional.conv2d(
            hidden, weights[f"{name}.weight"], bias, stride=stride, padding=1
        ).relu()
    quarters = [
        hidden[:, :, rows, columns].mean((2, 3))
        for rows in (slice(2), slice(2, 4))
        for columns in (slice(2), slice(2, 4))
    ]
    return torch.stack(
        [feature @ classifier.T for feature in torch.stack(quarters, dim=2).flatten(1)]
    )


def test_the_adapted_network_is_gamma_w_plus_the_generated_deltas(configure: Configure) -> None:
    model = make(configured(configure, "method.gamma=0.7", "method.mu=0.3")).eval()
    adaptation = model.adapt(torch.tensor([4, 0, 2]))
    weights = {
        name: 0.7 * parameter + adaptation.deltas[name]
        for name, parameter in model.base.named_parameters()
        if "weight" in name
    }
    expected = plain_forward(model, images(), weights, adaptation.classifier)
    torch.testing.assert_close(model.logits(images(), adaptation), expected, rtol=1e-4, atol=1e-5)


def test_with_mu_0_the_features_are_those_of_the_base_network(configure: Configure) -> None:
    model = make(configured(configure, "method.mu=0")).eval()
    adaptation = model.adapt(torch.arange(C))
    torch.testing.assert_close(
        model.logits(images(), adaptation), model.base(images()) @ adaptation.classifier.T
    )


def test_with_adapt_classifier_nothing_but_rows_is_generated(configure: Configure) -> None:
    model = make(configured(configure, "method.adapt=classifier"))
    assert model.adapt(torch.arange(C)).deltas == {}


def test_reordering_the_classes_reorders_the_logits(model: N3) -> None:
    model.eval()
    order = torch.tensor([3, 5, 0, 2, 1, 4])
    straight, reordered = (
        model.logits(images(), model.adapt(classes)) for classes in (torch.arange(C), order)
    )
    torch.testing.assert_close(reordered, straight[:, order], rtol=1e-4, atol=1e-5)


def test_the_loss_is_cross_entropy_over_the_classes_of_the_task(model: N3) -> None:
    model.eval()
    classes, labels = torch.tensor([5, 0, 3]), torch.tensor([3, 3, 5])
    found = model.losses(Batch(images(), labels, torch.arange(3), classes))["cross_entropy"]
    logits = model.logits(images(), model.adapt(classes))
    # class 3 is the third of the task, class 5 the first
    terms = [logits[i].logsumexp(0) - logits[i, column] for i, column in enumerate([2, 2, 0])]
    torch.testing.assert_close(found, torch.stack(terms).mean())


def test_without_a_task_all_seen_classes_compete(model: N3) -> None:
    model.eval()
    batch = Batch(images(), torch.tensor([0, 3, 5]), torch.arange(3))
    seen = torch.tensor([0, 1, 3, 5])
    torch.testing.assert_close(
        model.losses(batch)["cross_entropy"],
        model.losses(batch._replace(classes=seen))["cross_entropy"],
    )


def test_at_the_first_step_gradients_reach_the_whole_generator_and_nothing_else(model: N3) -> None:
    model.losses(Batch(images(), torch.tensor([0, 3, 5]), torch.arange(3)))[
        "cross_entropy"
    ].backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        if (
            name == "semantic_encoder.attention.bias"
        ):  # a constant added to every word's score changes nothing
            continue
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached == name.startswith(("semantic_encoder", "adapter")), name


def test_class_scores_are_log_probabilities_over_all_classes_and_rows_do_not_depend_on_each_other(
    model: N3,
) -> None:
    model.eval()
    with torch.no_grad():
        together = model.class_scores(images())
        alone = torch.cat([model.class_scores(image[None]) for image in images()])
    torch.testing.assert_close(together.exp().sum(1), torch.ones(3))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def evaluate(model: N3, batch: Batch) -> None:
    model.eval()
    model.on_test_epoch_start()
    with torch.no_grad():
        model.test_step(batch, 0)


def test_zsl_top1_comes_from_networks_made_for_the_unseen_classes_alone(model: N3) -> None:
    labels = torch.tensor([2, 4, 2, 4, 0, 1, 2, 2])
    batch = Batch(images(8), labels, torch.arange(8))
    evaluate(model, batch)
    with torch.no_grad():
        logits = model.logits(images(8), model.adapt(torch.tensor([2, 4])))
    predicted = torch.tensor([2, 4])[logits.argmax(1)]
    recalls = [float((predicted[labels == c] == c).double().mean()) for c in (2, 4)]
    assert model.test_metrics()["zsl_top1"] == pytest.approx(100 * sum(recalls) / 2)
    _, _, zsl = model.test_predictions()
    unseen = (labels == 2) | (labels == 4)
    assert torch.equal(zsl[unseen], predicted[unseen])


def test_zsl_top1_is_the_median_over_orders_and_the_orders_agree(configure: Configure) -> None:
    model = make(configured(configure, "method.permutations=4"))
    evaluate(model, Batch(images(40), torch.tensor([2, 4] * 20), torch.arange(40)))
    extra = model.extra_metrics()
    assert (
        extra["zsl_top1_lowest"]
        == extra["zsl_top1_highest"]
        == pytest.approx(model.test_metrics()["zsl_top1"])
    )
    orders = [order.tolist() for order, _ in model._networks["unseen"]]
    assert len(orders) == 4
    assert [2, 4] in orders
    assert [4, 2] in orders
    # networks that disagree: the median counts
    for metric, right in zip(model.accuracies, (4, 3, 2, 1), strict=True):
        metric.reset()
        metric.update(
            torch.tensor([0] * right + [-1] * (4 - right)), torch.zeros(4, dtype=torch.int64)
        )
    assert model.own_metrics()["zsl_top1"] == 62.5
    assert (
        model.extra_metrics()["zsl_top1_lowest"],
        model.extra_metrics()["zsl_top1_highest"],
    ) == (25.0, 100.0)


def test_with_a_single_order_of_the_unseen_classes_there_is_no_range_over_orders(
    configure: Configure,
) -> None:
    model = make(configured(configure, "method.permutations=1"))
    evaluate(model, Batch(images(40), torch.tensor([2, 4] * 20), torch.arange(40)))
    assert len(model._networks["unseen"]) == 1
    assert not {"zsl_top1_lowest", "zsl_top1_highest"} & set(model.extra_metrics())


@pytest.mark.slow
def test_by_default_the_test_makes_one_network_for_the_unseen_classes(
    configure: Configure,
) -> None:
    assert configure("method=n3", "tuned=none").method.permutations == 1


@pytest.mark.slow
def test_zsl_top1_per_sample_comes_from_the_network_for_the_unseen_classes_too(model: N3) -> None:
    labels = torch.tensor([2, 4, 2, 4, 0, 1, 2, 2])
    evaluate(model, Batch(images(8), labels, torch.arange(8)))
    with torch.no_grad():
        logits = model.logits(images(8), model.adapt(torch.tensor([2, 4])))
    right = torch.tensor([2, 4])[logits.argmax(1)] == labels
    unseen = (labels == 2) | (labels == 4)
    expected = 100 * float(right[unseen].double().mean())
    assert model.test_extra_metrics()["zsl_top1_per_sample"] == pytest.approx(expected)


def test_average_precision_is_the_mean_over_classes_of_the_area_under_precision_and_recall(
    model: N3,
) -> None:
    labels = torch.tensor([2, 4] * 10)
    evaluate(model, Batch(images(20), labels, torch.arange(20)))
    with torch.no_grad():
        probabilities = model.logits(images(20), model.adapt(torch.tensor([2, 4]))).softmax(1)
    found = []
    for column, position in enumerate((2, 4)):
        ranking = probabilities[:, column].argsort(descending=True)
        hits = (labels[ranking] == position).double()
        precision = hits.cumsum(0) / torch.arange(1, 21)
        found.append(float((precision * hits).sum() / hits.sum()))
    assert model.extra_metrics()["zsl_average_precision"] == pytest.approx(
        100 * np.mean(found), abs=1e-3
    )


def test_networks_are_generated_once_an_evaluation_and_kept_no_longer(model: N3) -> None:
    model.eval()
    batch = Batch(images(), torch.tensor([2, 0, 4]), torch.arange(3))
    for start, step, end in (
        (model.on_validation_epoch_start, model.validation_step, model.on_validation_epoch_end),
        (model.on_test_epoch_start, model.test_step, model.on_test_epoch_end),
    ):
        start()
        with torch.no_grad():
            step(batch, 0)
            before = model.class_scores(images())
            for parameter in model.adapter.parameters():
                parameter.mul_(1.5)
            assert torch.equal(model.class_scores(images()), before)
            end()
            assert not torch.equal(model.class_scores(images()), before)


def test_tensor_norms_are_those_of_what_the_unseen_classes_get(model: N3) -> None:
    model.eval()
    adaptation = model.adapt(torch.tensor([2, 4]))
    norms = model.tensor_norms()
    assert [(norm.name, norm.kind) for norm in norms] == [
        *((f"conv{i}.weight", "conv") for i in (1, 2, 3)),
        ("classifier", "linear"),
    ]
    for norm in norms[:-1]:
        assert norm.delta == pytest.approx(
            float(adaptation.deltas[norm.name].detach().square().sum().sqrt())
        )
        assert norm.pretrained == pytest.approx(
            float(dict(model.base.named_parameters())[norm.name].detach().square().sum().sqrt())
        )


# ------------------------------------------------------------------------------------------------
# in a run


@pytest.mark.slow
def test_the_base_network_is_trained_first_and_left_alone_then(
    configure: Configure, tmp_path: Path
) -> None:
    def base(steps: int) -> dict[str, Tensor]:
        run(
            configure(
                "method=n3",
                *SHORT_FIT["n3"],
                f"method.steps={steps}",
                "selection=last",
                run_dir=str(steps),
            )
        )
        stored = torch.load(tmp_path / str(steps) / "checkpoints" / "best.ckpt", weights_only=True)[
            "state_dict"
        ]
        return {name: value for name, value in stored.items() if name.startswith("base.")}

    short, long = base(10), base(20)
    assert short
    assert all(torch.equal(value, long[name]) for name, value in short.items())
    untrained = build_base_network(
        BaseConfig(name="small_cnn", weights=None), channels=1
    ).state_dict()
    assert not any(torch.equal(value, short[f"base.{name}"]) for name, value in untrained.items())


@pytest.mark.slow
def test_whitening_is_that_of_the_base_network_as_it_was_trained_in_the_run(
    configure: Configure, tmp_path: Path
) -> None:
    config = configured(
        configure,
        "method.compare_by=whitened_cosine",
        "selection=last",
        "selection.calibrate=false",
    )
    run(
        configure(
            "method=n3",
            *SHORT_FIT["n3"],
            "method.compare_by=whitened_cosine",
            "selection=last",
            "selection.calibrate=false",
        )
    )
    stored = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)[
        "state_dict"
    ]
    base = build_base_network(BaseConfig(name="small_cnn", weights=None), channels=1)
    base.load_state_dict(
        {
            name.removeprefix("base."): value
            for name, value in stored.items()
            if name.startswith("base.")
        }
    )
    benchmark = config.dataset.load_images(None)  # type: ignore[arg-type]
    train = benchmark.trainval
    with torch.no_grad():
        features = base(torch.from_numpy(benchmark.images[train].transpose(0, 3, 1, 2).copy()))
    labels = torch.from_numpy(benchmark.labels[train])
    torch.testing.assert_close(stored["centre"], features.mean(0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        stored["whitening"],
        within_class_whitening(features, labels, config.plain["method"]["shrinkage"]),
        rtol=1e-2,
        atol=1e-2,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_a_run_reports_what_only_n3_measures_and_draws_how_far_it_adapted(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # rendering is tested with the figures themselves
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"drawn"))
    result = run(configure("method=n3", *SHORT_FIT["n3"]))
    assert result.extra is not None
    assert {"zsl_average_precision", "zsl_top1_lowest", "zsl_top1_highest"} <= set(result.extra)
    # generating the networks is part of what a sample costs
    assert result.model is not None
    base = 2 * (8 * 8 * 16 * 9 + 4 * 4 * 32 * 9 * 16 + 4 * 4 * 64 * 9 * 32)
    assert result.model["flops"] > 2 * base
    drawn = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {
        "adaptation_norms.png",
        "adaptation_by_layer_type.png",
        "penultimate_norms.png",
        "confusion_matrix_unseen.png",
    } <= drawn
    # the figures of predictions.csv are those of the table
    with (tmp_path / "run" / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test_unseen"]
    recalls: dict[str, list[bool]] = {}
    for row in rows:
        recalls.setdefault(row["label"], []).append(row["label"] == row["zsl"])
    assert 100 * np.mean([np.mean(hits) for hits in recalls.values()]) == pytest.approx(
        result.metrics["zsl_top1"]
    )


def test_training_batches_are_tasks_of_k_classes(configure: Configure) -> None:
    config = configured(configure, "method.classes_per_task=3")
    benchmark = config.dataset.load_images(None)  # type: ignore[arg-type]
    data = config.dataset.data_module(benchmark, final_split(benchmark))
    assert isinstance(data, ImageDataModule)
    method = config.method_class.build(config.method, data)
    data.plan_training(method.batch_size_at, [4], seed=0)
    data.setup("fit")
    for batch in chain.from_iterable(data.train_dataloader()):
        assert batch.classes is not None
        assert len(batch.classes) == 3
        assert set(batch.labels.tolist()) <= set(batch.classes.tolist())


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["validation", "last"])
def test_a_method_without_images_or_without_features_says_what_to_choose(
    configure: Configure, selection: str
) -> None:
    with pytest.raises(
        ConfigError, match=r"dataset=synthetic .* dataset with images .* features: .*sgal"
    ):
        run(configure("method=n3", "dataset=synthetic", f"selection={selection}", *SHORT_FIT["n3"]))
    with pytest.raises(ConfigError, match=r"dataset=flowers .* Methods that take images: n3"):
        run(configure("method=sgal", "dataset=flowers", f"selection={selection}"))


@pytest.mark.slow
def test_missing_weights_are_noticed_before_any_image_is_read(
    configure: Configure, tmp_path: Path
) -> None:
    overrides = (
        "method=n3",
        "dataset=flowers",
        f"paths.data_dir={tmp_path}",
        "tuned=none",
        "method.base.name=squeezenet1_1",
    )
    with pytest.raises(
        ConfigError, match=r"method\.base\.weights=null: squeezenet1_1 needs pretrained weights"
    ):
        run(configure(*overrides))
    with pytest.raises(CheckpointError, match=r"there is no such file"):
        run(configure(*overrides, f"method.base.weights={tmp_path}/none.pth"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_base_network_that_nobody_trains_is_refused(configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"method.base_steps above 0.*method.base.weights"):
        configured(configure, "method.base_steps=0")


@pytest.mark.slow
def test_a_misspelt_key_of_a_section_is_named_with_the_near_one(configure: Configure) -> None:
    cfg = configure("method=n3", "+method.base.wieghts=x")
    with pytest.raises(
        ConfigError,
        match=r"method\.base\.wieghts: there is no such key\. Did you mean method\.base\.weights",
    ):
        parse(cfg)
    with pytest.raises(ConfigError, match=r"method\.text\.encoder=elmo: "):
        configured(configure, "method.text.encoder=elmo")


def step_of_resnet18(keys: dict[str, Any]) -> None:
    """One step on 16 images of 224 x 224 pixels; prints the process's peak memory in GiB."""
    config = N3Config.model_validate(keys)
    k = 20
    names = tuple(map(str, range(k)))
    known = np.arange(k) < 15
    classes = ClassSpace(np.arange(k), np.zeros((k, 0), np.float32), known, names, names)
    states = np.random.default_rng(0).standard_normal((k, 64, 768)).astype(np.float32)
    text = TokenStates(states, np.ones((k, 64), dtype=bool))
    base = build_base_network(BaseConfig(name="resnet18", weights=None), 3, load=False)
    model = N3(config, base, text, classes)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # makes its state
    optimizer.zero_grad()
    pixels = torch.randint(0, 256, (16, 3, 224, 224), dtype=torch.uint8)
    batch = Batch(pixels, torch.randint(0, 15, (16,)), torch.arange(16), torch.arange(15))
    model.losses(batch)["cross_entropy"].backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


@pytest.mark.long
@pytest.mark.slow
def test_a_training_step_of_resnet18_on_32_images_of_224_pixels_takes_at_most_6_gib(
    configure: Configure,
) -> None:
    """Sixteen images take at least half of it."""
    plain: Any = configured(
        configure,
        "tuned=none",
        "method.hidden_dim=256",
        "method.base_steps=0",
        "method.base.name=resnet18",
    ).plain
    keys = {key: value for key, value in plain["method"].items() if key != "_target_"}
    out, err = Forked(step_of_resnet18, keys).communicate()
    assert 0.5 < float(out) <= 6 / 2, err
