from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from torch import Tensor, nn

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.splits import test_split as full_split
from zsl_lab.methods.aspn import ASPN
from zsl_lab.methods.aspn.config import Compatibility
from zsl_lab.methods.aspn.losses import compatibility, critic_loss, prototype_cross_entropy
from zsl_lab.nn.whitening import within_class_whitening
from zsl_lab.predict.classes import subset
from zsl_lab.run.config import parse, plain_config

D, Q, Z, H, B = 5, 3, 2, 4, 6
CLASSES = ClassSpace(
    np.arange(4),
    np.random.default_rng(0).standard_normal((4, Q)).astype(np.float32),
    np.array([True, True, True, False]),
    tuple("abcd"),
)
VARIANTS = ("aspn_baseline", "aspn_spn", "aspn")
KINDS: tuple[Compatibility, ...] = (
    "inner_product",
    "distance",
    "cosine",
    "centered_cosine",
    "whitened_cosine",
)
#: where attention acts, and among what
READINGS = (
    {"attention": "none"},
    *(
        {"attention": place, "attend_among": among}
        for place in ("hidden", "output")
        for among in ("batch", "classes")
    ),
)
#: terms of the objective
NAMES = ("visual", "semantic", "semantic_cycle", "visual_cycle", "adversarial", "classification")
CENTRE = torch.linspace(0.2, 0.6, D)
WHITENING = torch.eye(D, dtype=torch.float64) + 0.2 * torch.ones(D, D, dtype=torch.float64)


def published(name: str) -> dict[str, Any]:
    """The keys of a method as its yaml files give them."""
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        keys = plain_config(
            compose("config", [f"method={name}", "tuned=none", "paths.run_dir=nowhere"])
        )["method"]
    return {key: value for key, value in keys.items() if key != "_target_"}


def method(name: str = "aspn", **changes: Any) -> ASPN:
    torch.manual_seed(0)
    keys = {**published(name), "hidden_dim": H, "noise_dim": Z, "learning_rate": 0.01, **changes}
    return ASPN(ASPN.config_class(**keys), D, CLASSES)


class _Bare(ASPN):
    """Steps without a trainer."""

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        if not hasattr(self, "bare"):
            self.bare: list[torch.optim.Optimizer] = self.configure_optimizers()
        return self.bare if len(self.bare) > 1 else self.bare[0]

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        loss.backward()  # type: ignore[no-untyped-call]


def bare(name: str = "aspn", **changes: Any) -> _Bare:
    torch.manual_seed(0)
    keys = {**published(name), "hidden_dim": H, "noise_dim": Z, "learning_rate": 0.01, **changes}
    return _Bare(_Bare.config_class(**keys), D, CLASSES)


def batch(seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        torch.rand(B, D, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(B)
    )


# ------------------------------------------------------------------------------------------- losses


def written_out_compatibility(x: Tensor, p: Tensor, kind: Compatibility) -> Tensor:
    if kind in ("centered_cosine", "whitened_cosine"):
        x, p = x - CENTRE, p - CENTRE
    if kind == "whitened_cosine":
        x, p = (torch.stack([(v * WHITENING[:, i]).sum() for i in range(D)]) for v in (x, p))
    if kind == "inner_product":
        return sum((a * b for a, b in zip(x, p, strict=True)), torch.zeros(()))
    if kind == "distance":
        return -sum(((a - b) ** 2 for a, b in zip(x, p, strict=True)), torch.zeros(()))
    dot, xx, pp = (
        sum((a * b for a, b in zip(u, v, strict=True)), torch.zeros(()))
        for u, v in ((x, p), (x, x), (p, p))
    )
    return dot / (xx.sqrt() * pp.sqrt())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seen_only", [False, True])
def test_prototype_cross_entropy_has_the_value_and_gradients_of_equation_8(
    kind: Compatibility, seen_only: bool
) -> None:
    torch.manual_seed(0)
    x = torch.rand(B, D, dtype=torch.float64, requires_grad=True)
    prototypes = torch.rand(4, D, dtype=torch.float64, requires_grad=True)
    labels, temperature = torch.tensor([0, 2, 1, 2, 0, 0]), 0.5
    among = torch.tensor([True, True, True, False]) if seen_only else None
    found = prototype_cross_entropy(
        compatibility(x, prototypes, kind, CENTRE, WHITENING), labels, temperature, among
    )
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(B):
        competing = range(3 if seen_only else 4)
        exponentials = [
            torch.exp(written_out_compatibility(x[i], prototypes[c], kind) / temperature)
            for c in competing
        ]
        expected = (
            expected
            - torch.log(exponentials[int(labels[i])] / sum(exponentials, torch.zeros(()))) / B
        )
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(found, (x, prototypes)),
        torch.autograd.grad(expected, (x, prototypes)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_the_critics_loss_is_minus_the_wasserstein_estimate_plus_beta_times_the_penalty() -> None:
    torch.manual_seed(0)
    w = torch.tensor(
        [3.0, 0.0, 4.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True
    )  # its gradient has norm 5 everywhere
    v = torch.randn(Q, dtype=torch.float64, requires_grad=True)
    real, generated = (
        torch.rand(B, D, dtype=torch.float64),
        torch.rand(B, D, dtype=torch.float64, requires_grad=True),
    )
    semantics = torch.randn(B, Q, dtype=torch.float64)
    found = critic_loss(lambda x, s: x @ w + s @ v, real, generated, semantics, beta=0.1)
    wasserstein = (
        sum((w.detach() @ (real[i] - generated.detach()[i]) for i in range(B)), torch.zeros(())) / B
    )
    torch.testing.assert_close(found, -wasserstein + 0.1 * (5 - 1) ** 2)
    found.backward()  # type: ignore[no-untyped-call]
    assert generated.grad is None
    assert w.grad is not None
    assert v.grad is not None
    # d/dw of beta (||w|| - 1)^2 is 2 beta (||w|| - 1) w / ||w||
    torch.testing.assert_close(
        w.grad, -(real - generated.detach()).mean(0) + 0.1 * 2 * (5 - 1) * w.detach() / 5
    )
    torch.testing.assert_close(v.grad, torch.zeros_like(v))


@pytest.mark.slow
def test_every_term_of_the_objective_has_the_value_and_gradients_of_its_equation() -> None:
    weights: dict[str, Any] = {
        "vartheta": 0.7,
        "semantic_cycle_weight": 0.5,
        "visual_cycle_weight": 0.2,
        "adversarial_weight": 0.3,
    }
    model = method(
        attention="none",
        compatibility="inner_product",
        semantic_scale=2.0,
        noise_scale=0.5,
        **weights,
    ).double()
    assert model.inference is not None
    assert model.critic is not None
    samples = batch()
    features, labels = samples.inputs.double(), samples.labels
    torch.manual_seed(7)
    found = model.losses(features, labels)
    torch.manual_seed(7)
    noise = torch.randn(B, Z).double()

    def dense(layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear)
        bias = layer.bias if layer.bias is not None else torch.zeros(layer.out_features)
        return torch.stack(
            [(layer.weight[i] * x).sum() + bias[i] for i in range(layer.out_features)]
        )

    def generator(s: Tensor, z: Tensor) -> Tensor:
        hidden = dense(model.generator.hidden, torch.cat([2.0 * s, 0.5 * z])).clamp(min=0)
        return dense(model.generator.output, hidden).clamp(min=0)

    def inference(x: Tensor) -> tuple[Tensor, Tensor]:
        assert model.inference is not None
        out = dense(model.inference.layers[2], dense(model.inference.layers[0], x).clamp(min=0))
        return out[:Q], out[Q:]

    def critic(x: Tensor, s: Tensor) -> Tensor:
        assert model.critic is not None
        hidden = dense(model.critic.layers[0], torch.cat([x, s]))
        return dense(model.critic.layers[2], torch.where(hidden > 0, hidden, 0.2 * hidden))[0]

    semantics = model.semantics.double()
    prototypes = torch.stack([generator(s, torch.zeros(Z).double()) for s in semantics])
    expected = dict.fromkeys(NAMES, torch.zeros(()).double())
    for i in range(B):
        x, s = features[i], semantics[labels[i]]
        fake = generator(s, noise[i])
        inferred_s, inferred_z = inference(x)
        expected["visual"] = expected["visual"] + ((x - fake) ** 2).sum() / B
        expected["semantic"] = expected["semantic"] + ((s - inferred_s) ** 2).sum() / B
        expected["semantic_cycle"] = (
            expected["semantic_cycle"] + ((s - inference(fake)[0]) ** 2).sum() / B
        )
        expected["visual_cycle"] = (
            expected["visual_cycle"] + ((x - generator(inferred_s, inferred_z)) ** 2).sum() / B
        )
        expected["adversarial"] = expected["adversarial"] - critic(fake, s) / B
        for sample in (x, fake):
            scores = torch.stack([sample @ p for p in prototypes])
            expected["classification"] = (
                expected["classification"] - torch.log_softmax(scores, 0)[labels[i]] / B
            )
    weight_of = dict(zip(NAMES, (1.0, 1.0, 0.5, 0.2, 0.3, 0.7), strict=True))
    total = sum((weight_of[name] * term for name, term in expected.items()), torch.zeros(()))
    for name, term in {**expected, "total": total}.items():
        torch.testing.assert_close(found[name], term, msg=name)
        parameters = list(model.parameters())
        a = torch.autograd.grad(
            found[name], parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        b = torch.autograd.grad(
            term, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for one, other in zip(a, b, strict=True):
            torch.testing.assert_close(one, other, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("changes", READINGS)
def test_a_samples_scores_do_not_depend_on_its_batch_mates(changes: dict[str, str]) -> None:
    model = bare(**changes)
    for step in range(3):
        model.train_on(batch(step))
    for training in (True, False):  # nor on whether the networks are in evaluation mode
        model.train(training)
        features = batch().inputs
        whole = model.class_scores(features)
        alone = torch.cat([model.class_scores(row[None]) for row in features])
        torch.testing.assert_close(whole, alone)
        others = features.clone()
        others[1:] = torch.rand(B - 1, D) * 100
        torch.testing.assert_close(model.class_scores(others)[0], whole[0])


# --------------------------------------------------------------------------- attention


def written_out_prototypes(model: ASPN, semantics: Tensor, attended: Tensor) -> Tensor:
    """E(s, 0) with Eq. 5 and 6 at the attention's place, class by class."""
    generator, attention = model.generator, model.generator.attention
    assert attention is not None

    def hidden(s: Tensor) -> Tensor:
        inputs = torch.cat([s, torch.zeros(Z)])
        return (generator.hidden.weight @ inputs + generator.hidden.bias).clamp(min=0)

    def output(h: Tensor) -> Tensor:
        return (generator.output.weight @ h + generator.output.bias).clamp(min=0)

    def row(s: Tensor) -> Tensor:
        return output(hidden(s)) if model.config.attention == "output" else hidden(s)

    prototypes = []
    for s in semantics:
        k = [(attention.f.weight @ row(s)) @ (attention.g.weight @ row(c)) for c in attended]
        total = sum((torch.exp(value) for value in k), torch.zeros(()))
        mixture = torch.zeros_like(row(s))
        for value, c in zip(k, attended, strict=True):
            mixture = mixture + torch.exp(value) / total * row(c)
        mixed = attention.alpha * mixture + (1 - attention.alpha) * row(s)
        prototypes.append(mixed if model.config.attention == "output" else output(mixed))
    return torch.stack(prototypes)


@pytest.mark.parametrize("place", ["hidden", "output"])
def test_prototypes_attend_to_those_of_all_classes_as_in_equations_5_and_6(place: str) -> None:
    model = method(attention=place, attend_among="classes", score="distance")
    features = batch().inputs
    expected = written_out_prototypes(model, model.semantics, model.semantics)
    assert not torch.allclose(expected, model.generator.prototypes(model.semantics))
    found = model.class_scores(features)
    written = -torch.cdist(features, expected).square()
    torch.testing.assert_close(found, written, rtol=1e-4, atol=1e-5)
    parameters = list(model.generator.parameters())
    for a, b in zip(
        torch.autograd.grad(found.sum(), parameters),
        torch.autograd.grad(written.sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("place", ["hidden", "output"])
def test_what_is_generated_in_training_attends_as_the_prototypes_do(place: str) -> None:
    model = method(attention=place, attend_among="classes", noise_scale=1e-9, unseen_share=0.5)
    assert model.critic is not None
    samples = batch()
    torch.manual_seed(7)
    terms = model.losses(samples.inputs, samples.labels)
    prototypes = written_out_prototypes(model, model.semantics, model.semantics)
    generated = prototypes[samples.labels]
    torch.testing.assert_close(
        terms["visual"], (samples.inputs - generated).square().sum(1).mean(), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        terms["adversarial"],
        -model.critic(generated, model.semantics[samples.labels]).mean(),
        rtol=1e-4,
        atol=1e-5,
    )
    scores = samples.inputs @ prototypes.T, generated @ prototypes.T
    expected = [torch.nn.functional.cross_entropy(part, samples.labels) for part in scores]
    torch.testing.assert_close(terms["classification"], sum(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", ["hidden", "output"])
def test_the_order_of_the_classes_does_not_matter(place: str) -> None:
    model, features = method(attention=place, attend_among="classes"), batch().inputs
    order = np.array([2, 0, 3, 1])
    before = model.class_scores(features)
    model.set_classes(subset(CLASSES, order))
    torch.testing.assert_close(model.class_scores(features), before[:, order])
    again = ASPN(model.config, D, subset(CLASSES, order))
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.class_scores(features), before[:, order])


@pytest.mark.parametrize("changes", READINGS)
def test_a_class_of_training_has_the_same_scores_among_any_candidates(
    changes: dict[str, str],
) -> None:
    model, features = method(**changes), batch().inputs
    before = model.class_scores(features)
    for candidates in ([3], [0], [1, 3]):
        model.set_classes(subset(CLASSES, np.array(candidates)))
        torch.testing.assert_close(model.class_scores(features), before[:, candidates])


@pytest.mark.parametrize("place", ["hidden", "output"])
def test_new_classes_attend_to_those_of_training_and_to_each_other(place: str) -> None:
    model, features = method(attention=place, attend_among="classes"), batch().inputs
    new = np.random.default_rng(1).standard_normal((2, Q)).astype(np.float32)
    # rounding of another batch leaves a class of training what it is
    known = CLASSES.semantics[3:] * np.float32(1 + 1e-6)
    candidates = np.concatenate([new, known])
    model.set_classes(
        ClassSpace(np.arange(3), candidates, np.array([False] * 3), ("x", "y", "known"))
    )
    attended = torch.cat([torch.as_tensor(CLASSES.semantics), torch.as_tensor(new)])
    expected = written_out_prototypes(model, torch.as_tensor(candidates), attended)
    torch.testing.assert_close(
        model.class_scores(features),
        -torch.cdist(features, expected).square(),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("changes", READINGS)
def test_features_of_a_class_are_generated_whatever_the_candidates_are(
    changes: dict[str, str],
) -> None:
    model = method(**changes, noise_scale=1e-9)
    prototypes = model._prototypes(model.semantics)
    first = model.generate(model.semantics[:1], 2)[0]
    torch.testing.assert_close(first, prototypes[:1].expand(2, -1))
    new = torch.randn(1, Q)
    before = model.generate(new, 1)
    model.set_classes(subset(CLASSES, np.array([3])))
    torch.testing.assert_close(model.generate(new, 1), before)


def test_attention_among_the_batch_acts_in_training_only() -> None:
    model = bare(attend_among="batch")
    attended: list[bool] = []

    def note(module: nn.Module, args: Any, named: dict[str, Any]) -> None:
        attended.append(named["attend"] and named["attended"] is None)

    model.generator.register_forward_pre_hook(note, with_kwargs=True)
    model.train_on(batch())
    # for the critic, for the losses, in the visual cycle, and the prototypes of the classification
    assert attended == [True, True, True, False]
    semantics, noise = model.semantics[batch().labels], torch.zeros(B, Z)
    plain = model.generator(semantics, noise, attend=False, attended=None)
    assert not torch.allclose(model.generator(semantics, noise, attend=True, attended=None), plain)
    torch.testing.assert_close(plain, model._prototypes(model.semantics)[batch().labels])


def test_a_configuration_stored_before_attention_among_classes_is_read_as_it_was_meant() -> None:
    keys = {key: value for key, value in published("aspn").items() if key != "attend_among"}
    read = ASPN.config_class(**keys, swap_attention=False)  # type: ignore[call-arg]
    assert read.attend_among == "batch"
    assert "swap_attention" not in read.model_dump()
    with pytest.warns(UserWarning, match="swap_attention=true: this key no longer exists"):
        assert ASPN.config_class(**keys, swap_attention=True) == read  # type: ignore[call-arg]


# --------------------------------------------------------------------------- the method


@pytest.mark.parametrize("score", KINDS)
def test_scores_compare_features_with_the_noiseless_output_for_every_class(
    score: Compatibility,
) -> None:
    model = method("aspn_spn", score=score)
    features = batch().inputs
    prototypes = model.generator(model.semantics, torch.zeros(4, Z))
    torch.testing.assert_close(
        model.class_scores(features),
        compatibility(features, prototypes, score, model.centre, model.whitening),
    )
    nearest = torch.stack([((x - prototypes) ** 2).sum(1).argmin() for x in features])
    if score == "distance":
        assert torch.equal(model.class_scores(features).argmax(1), nearest)
    # what is drawn is the space that is compared in
    drawn, places = model.latent_space(features)
    products = -torch.cdist(drawn, places).square() if score == "distance" else drawn @ places.T
    torch.testing.assert_close(products, model.class_scores(features))


@pytest.mark.slow
def test_each_parameter_belongs_to_exactly_one_optimiser() -> None:
    for name, expected in zip(VARIANTS, (1, 2, 2), strict=True):
        model = method(name)
        optimizers = model.configure_optimizers()
        assert len(optimizers) == expected
        held = [
            id(p)
            for optimizer in optimizers
            for group in optimizer.param_groups
            for p in group["params"]
        ]
        assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_a_step_moves_generator_inference_network_attention_and_critic() -> None:
    model = bare()
    before = {name: value.clone() for name, value in model.named_parameters()}
    losses = model.train_on(batch())
    assert set(losses) == {"total", "critic", *NAMES}
    assert {
        name for name, value in model.named_parameters() if torch.equal(value, before[name])
    } == set()
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
def test_the_generators_step_leaves_the_critic_as_the_critics_own_steps_made_it() -> None:
    model, once = bare(critic_steps=2), bare(critic_steps=2, adversarial_weight=1e-6)
    for one in (model, once):
        torch.manual_seed(5)
        one.train_on(batch())
    assert model.critic is not None
    assert once.critic is not None
    # the generator's weight on the critic's judgement cannot reach the critic's parameters
    for a, b in zip(model.critic.parameters(), once.critic.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_the_variants_have_the_parts_of_the_ablation() -> None:
    parts = {name: method(name) for name in VARIANTS}
    assert [parts[name].inference is not None for name in VARIANTS] == [False, True, True]
    assert [parts[name].critic is not None for name in VARIANTS] == [False, True, True]
    assert [parts[name].generator.attention is not None for name in VARIANTS] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(("semantic_dim", "millions"), [(85, 11.8), (312, 13.9), (1024, 20.3)])
def test_the_published_networks_have_the_sizes_that_the_readme_gives(
    semantic_dim: int, millions: float
) -> None:
    classes = ClassSpace(
        np.arange(4),
        np.zeros((4, semantic_dim), dtype=np.float32),
        np.array([True, True, True, False]),
        tuple("abcd"),
    )
    model = ASPN(ASPN.config_class(**published("aspn_spn")), 2048, classes)
    count = sum(p.numel() for p in model.parameters())
    z = semantic_dim
    dense = [(semantic_dim + z, 1800), (1800, 2048), (2048, 1800), (1800, semantic_dim + z)]
    written_out = sum(rows * columns + columns for rows, columns in dense)
    written_out += (2048 + semantic_dim) * 1800 + 1800 + 1800  # the critic, without a last bias
    assert count == written_out
    assert math.isclose(count / 1e6, millions, abs_tol=0.05)


@pytest.mark.slow
def test_generated_features_of_unseen_classes_join_only_the_semantic_cycle() -> None:
    model = method(attention="none", unseen_share=0.5)
    assert model.inference is not None
    samples = batch()
    torch.manual_seed(7)
    found = model.losses(samples.inputs, samples.labels)
    torch.manual_seed(7)
    extra = model.unseen[torch.randint(1, (3,))]
    noise = torch.randn(B + 3, Z)
    semantics = model.semantics[torch.cat([samples.labels, extra])]
    generated = model.generator(semantics, noise)
    cycled = model.generator(*model.inference(samples.inputs))
    torch.testing.assert_close(
        found["semantic_cycle"], (semantics - model.inference(generated)[0]).square().sum(1).mean()
    )
    torch.testing.assert_close(
        found["visual_cycle"], (samples.inputs - cycled).square().sum(1).mean()
    )
    torch.testing.assert_close(
        found["visual"], (samples.inputs - generated[:B]).square().sum(1).mean()
    )


def test_with_decay_the_learning_rates_fall_linearly_to_zero() -> None:
    model = bare(steps=4, decay=True)
    rates = []
    for _ in range(4):
        model.train_on(batch())
        model.step += 1
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in model.bare])
    torch.testing.assert_close(
        torch.tensor(rates), torch.tensor([[0.01] * 2, [0.0075] * 2, [0.005] * 2, [0.0025] * 2])
    )


def test_generated_features_are_not_negative_and_vary_with_the_noise() -> None:
    model = method()
    features = model.generate(model.semantics, 50)
    assert features.shape == (4, 50, D)
    assert (features >= 0).all()
    assert (features.std(1) > 0).any()


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart() -> None:
    model = bare("aspn_baseline", hidden_dim=64, compatibility="distance")
    samples = batch()
    prototypes = torch.rand(3, D)
    features = prototypes[samples.labels]
    for _ in range(300):
        model.train_on(samples._replace(inputs=features))
    assert torch.equal(model.class_scores(features).argmax(1), samples.labels)


@pytest.mark.slow
def test_a_checkpoint_keeps_what_features_are_compared_by() -> None:
    assert "centre" in method().state_dict()
    assert "whitening" not in method().state_dict()
    assert "whitening" in method(score="whitened_cosine").state_dict()


@pytest.mark.slow
def test_what_is_taken_from_the_training_samples_are_their_mean_and_their_scatter_within_classes(
    configure: Callable[..., DictConfig], tmp_path: Path
) -> None:
    cfg = parse(
        configure(
            "method=aspn",
            "dataset.normalize=minmax",
            "method.output_bias=mean",
            "method.output_scale=0",
            "method.score=whitened_cosine",
        )
    )
    benchmark = cfg.dataset.load(DataPaths(tmp_path, tmp_path))
    data = cfg.dataset.data_module(benchmark, full_split(benchmark))
    model = cfg.method_class.build(cfg.method, data)
    assert isinstance(model, ASPN)
    samples = data.samples(benchmark.trainval)
    mean = samples.inputs.mean(0)
    torch.testing.assert_close(model.centre, mean)
    torch.testing.assert_close(
        model.whitening, within_class_whitening(samples.inputs, samples.labels, 0.5)
    )
    torch.testing.assert_close(
        model.generator.prototypes(model.semantics), mean.expand(benchmark.num_classes, -1)
    )
