from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal
from torch.distributions import kl_divergence as torch_kl

from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.vzsl import VZSL
from zsl_lab.methods.vzsl.config import VZSLConfig
from zsl_lab.methods.vzsl.losses import margin, negative_log_likelihood
from zsl_lab.methods.vzsl.networks import LinearGaussianPrior
from zsl_lab.nn.gaussian import (
    kl_divergence,
    kl_to_unit_variance,
    pairwise_kl_divergence,
    reparameterize,
)
from zsl_lab.run.config import parse

Configure = Callable[..., DictConfig]

SEEN_MASK = np.array([True, True, False, True, True, False])
SMALL = (
    "callbacks=none",
    "method.latent_dim=4",
    "method.encoder_hidden=[16]",
    "method.decoder_hidden=[16]",
    "method.dropout=0.0",
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).requires_grad_()


def assert_same_value_and_gradients(
    found: Tensor, expected: Tensor, inputs: Sequence[Tensor]
) -> None:
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    for mine, reference in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(mine, reference)


def gaussian(mean: Tensor, log_variance: Tensor) -> Distribution:
    return Independent(Normal(mean, (0.5 * log_variance).exp()), 1)


def class_space(semantics: np.ndarray, seen_mask: np.ndarray = SEEN_MASK) -> ClassSpace:
    names = tuple(f"class {i}" for i in range(len(semantics)))
    return ClassSpace(np.arange(len(semantics)), semantics.astype(np.float32), seen_mask, names)


def small(configure: Configure, *overrides: str, method: str = "vzsl") -> VZSL:
    """A small VZSL on 6 classes (4 seen) with 3 attributes and features of 5 dimensions."""
    config = parse(configure(f"method={method}", *SMALL, *overrides)).method
    assert isinstance(config, VZSLConfig)
    torch.manual_seed(0)
    return VZSL(config, 5, class_space(np.random.default_rng(0).normal(size=(6, 3))))


def samples(count: int = 7) -> tuple[Tensor, Tensor]:
    features = torch.randn(count, 5, generator=torch.Generator().manual_seed(1))
    return features, torch.tensor([0, 1, 3, 4, 1, 0, 3])[:count]


# ------------------------------------------------------------------------------- divergences


def test_kl_between_two_gaussians_is_that_of_torch_distributions_in_value_and_gradient() -> None:
    inputs = [drawn(5, 3, seed=i) for i in range(4)]
    expected = torch_kl(gaussian(inputs[0], inputs[1]), gaussian(inputs[2], inputs[3]))
    torch.testing.assert_close(kl_divergence(*inputs), expected)
    assert_same_value_and_gradients(kl_divergence(*inputs).sum(), expected.sum(), inputs)


def test_kl_to_a_prior_of_unit_variance_is_the_special_case() -> None:
    mean, log_variance, prior = (drawn(5, 3, seed=i) for i in range(3))
    torch.testing.assert_close(
        kl_divergence(mean, log_variance, prior, torch.zeros_like(prior)),
        kl_to_unit_variance(mean, log_variance, prior),
    )


def test_kl_of_all_pairs_is_that_of_each_pair_in_value_and_gradient() -> None:
    inputs = [drawn(5, 3), drawn(5, 3, seed=1), drawn(4, 3, seed=2), drawn(4, 3, seed=3)]
    mean, log_variance, prior_mean, prior_log_variance = inputs
    expected = torch.stack(
        [
            torch.stack(
                [
                    torch_kl(
                        gaussian(mean[b], log_variance[b]),
                        gaussian(prior_mean[c], prior_log_variance[c]),
                    )
                    for c in range(4)
                ]
            )
            for b in range(5)
        ]
    )
    found = pairwise_kl_divergence(*inputs)
    torch.testing.assert_close(found, expected)
    # unequal weights, so that a gradient of the wrong pair would show
    weights = drawn(5, 4, seed=4).detach()
    assert_same_value_and_gradients((found * weights).sum(), (expected * weights).sum(), inputs)


@pytest.mark.parametrize("distance_from_origin", [0.0, 1000.0])
def test_kl_of_all_pairs_in_single_precision_agrees_with_double_wherever_the_means_lie(
    distance_from_origin: float,
) -> None:
    double = [drawn(64, 100).detach() + distance_from_origin, drawn(64, 100, seed=1).detach()]
    double += [
        2 * drawn(50, 100, seed=2).detach() + distance_from_origin,
        drawn(50, 100, seed=3).detach(),
    ]
    single = [tensor.float() for tensor in double]
    expected = pairwise_kl_divergence(*(tensor.double() for tensor in single))
    torch.testing.assert_close(
        pairwise_kl_divergence(*single), expected.float(), rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kl_of_numbers_in_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    inputs = [300 * drawn(5, 3), drawn(5, 3, seed=1), drawn(4, 3, seed=2), drawn(4, 3, seed=3)]
    half = [tensor.detach().to(dtype) for tensor in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pairwise_kl_divergence(*half)
    torch.testing.assert_close(found, pairwise_kl_divergence(*(tensor.float() for tensor in half)))
    assert (
        found.dtype
        == kl_divergence(half[0][:4], half[1][:4], half[2], half[3]).dtype
        == torch.float32
    )


# ------------------------------------------------------------------------------- the terms


@pytest.mark.parametrize("variance", [0.5, 3.0])
def test_reconstruction_is_minus_the_log_likelihood_of_a_gaussian_up_to_its_constant(
    variance: float,
) -> None:
    x, y = drawn(4, 3), drawn(4, 3, seed=1)
    log_density = Normal(y, math.sqrt(variance)).log_prob(x)  # type: ignore[no-untyped-call]
    log_likelihood = log_density.sum() / 4
    constant = 3 / 2 * math.log(2 * math.pi * variance)
    assert_same_value_and_gradients(
        negative_log_likelihood(x, y, variance), -log_likelihood - constant, [x, y]
    )


def test_reconstruction_with_a_variance_of_one_half_is_the_squared_error() -> None:
    x, y = drawn(4, 3), drawn(4, 3, seed=1)
    assert negative_log_likelihood(x, y, 0.5).item() == pytest.approx(
        (x - y).square().sum().item() / 4
    )


@pytest.mark.parametrize("exclude_true", [False, True])
def test_margin_is_the_written_out_sum_over_seen_classes_in_value_and_gradient(
    exclude_true: bool,
) -> None:
    inputs = [drawn(7, 3), drawn(7, 3, seed=1), drawn(6, 3, seed=2), drawn(6, 3, seed=3)]
    mean, log_variance, prior_mean, prior_log_variance = inputs
    _, labels = samples()
    total = torch.zeros((), dtype=torch.float64)
    for b, label in enumerate(labels.tolist()):
        inner = torch.zeros((), dtype=torch.float64)
        for c in np.flatnonzero(SEEN_MASK).tolist():
            if exclude_true and c == label:
                continue
            inner = inner + torch.exp(
                -torch_kl(
                    gaussian(mean[b], log_variance[b]),
                    gaussian(prior_mean[c], prior_log_variance[c]),
                )
            )
        total = total + torch.log(inner)
    found = margin(
        pairwise_kl_divergence(*inputs), labels, torch.tensor(SEEN_MASK), exclude_true=exclude_true
    )
    assert_same_value_and_gradients(found, total / 7, inputs)


@pytest.mark.parametrize("exclude_true", [False, True])
def test_margin_gives_unseen_classes_no_gradient(exclude_true: bool) -> None:
    divergences = drawn(7, 6).detach().square().requires_grad_()
    _, labels = samples()
    (gradient,) = torch.autograd.grad(
        margin(divergences, labels, torch.tensor(SEEN_MASK), exclude_true=exclude_true), divergences
    )
    assert (gradient[:, ~SEEN_MASK] == 0).all()
    assert (gradient[:, SEEN_MASK] != 0).sum().item() == 7 * 4 - 7 * exclude_true


def test_margin_is_bounded_by_the_least_divergence_and_the_log_of_the_seen_classes() -> None:
    divergences = 50 * drawn(1, 6).detach().square()
    found = margin(
        divergences, torch.tensor([0]), torch.tensor(SEEN_MASK), exclude_true=False
    ).item()
    nearest = divergences[0, SEEN_MASK].min().item()
    assert -nearest <= found <= -nearest + math.log(4)


def test_margin_of_divergences_too_large_to_exponentiate_is_finite() -> None:
    divergences = torch.full((2, 6), 1e6)
    found = margin(divergences, torch.tensor([0, 1]), torch.tensor(SEEN_MASK), exclude_true=False)
    assert found.item() == pytest.approx(-1e6 + math.log(4), abs=0.1)


@pytest.mark.slow
def test_kl_and_a_margin_of_weight_one_are_minus_the_log_softmax_of_minus_kl_at_the_true_class(
    configure: Configure,
) -> None:
    method, (features, labels) = small(configure, "method.lambda_=1.0"), samples()
    losses = method.losses(features, labels)
    scores = method.class_scores(features)[:, method.seen_mask]
    position = torch.tensor(SEEN_MASK).cumsum(0)[labels] - 1
    expected = torch.nn.functional.cross_entropy(scores, position)
    torch.testing.assert_close(losses["kl"] + losses["margin"], expected)


# ------------------------------------------------------------------------------- the objective


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [(), ("method.lambda_=0.3", "method.exclude_true=true"), ("method.decoder_variance=2.0",)],
)
@pytest.mark.parametrize("name", ["vzsl", "vzsl_no_margin", "vzsl_no_reconstruction"])
def test_loss_is_minus_the_written_out_objective_in_value_and_gradient(
    configure: Configure, name: str, overrides: tuple[str, ...]
) -> None:
    if name == "vzsl_no_margin":
        overrides = tuple(x for x in overrides if "lambda_" not in x)
    method, (features, labels) = small(configure, *overrides, method=name).double(), samples()
    features, config, parameters = features.double(), method.config, list(method.parameters())
    torch.manual_seed(0)
    found = method.losses(features, labels)["total"]

    torch.manual_seed(0)
    mean, log_variance = method.encoder(features)[:, :4], method.encoder(features)[:, 4:]
    noise = torch.randn_like(mean)
    objective = torch.zeros((), dtype=torch.float64)
    for b, label in enumerate(labels.tolist()):
        q = gaussian(mean[b], log_variance[b])
        a = method.semantics / method.prior.norm
        p = [
            gaussian(method.prior.mean.weight @ a[c], method.prior.log_variance.weight @ a[c])
            for c in range(6)
        ]
        objective = objective - torch_kl(q, p[label])
        if name != "vzsl_no_reconstruction":
            assert method.decoder is not None
            z = mean[b] + torch.exp(log_variance[b] / 2) * noise[b]
            objective = objective - (features[b] - method.decoder(z[None])[0]).square().sum() / (
                2 * config.decoder_variance
            )
        if name != "vzsl_no_margin":
            others = [c for c in (0, 1, 3, 4) if not (config.exclude_true and c == label)]
            objective = objective - config.lambda_ * torch.log(
                torch.stack([torch.exp(-torch_kl(q, p[c])) for c in others]).sum()
            )
    assert_same_value_and_gradients(found, -objective / len(labels), parameters)


def test_without_reconstruction_there_is_no_decoder_anywhere(configure: Configure) -> None:
    method = small(configure, method="vzsl_no_reconstruction")
    assert method.losses(*samples()).keys() == {"total", "kl", "margin"}
    assert not [name for name, _ in method.named_parameters() if "decoder" in name]
    with pytest.raises(ConfigError, match=r"method\.reconstruction=false"):
        method.generate(method.semantics, 2)


def test_without_margin_there_is_none_in_the_loss(configure: Configure) -> None:
    losses = small(configure, method="vzsl_no_margin").losses(*samples())
    assert losses.keys() == {"total", "kl", "reconstruction"}
    torch.testing.assert_close(losses["total"], losses["kl"] + losses["reconstruction"])


def test_the_semantics_of_unseen_classes_do_not_enter_the_loss(configure: Configure) -> None:
    method = small(configure)
    torch.manual_seed(0)
    before = method.losses(*samples())["total"]
    method.semantics[~method.seen_mask] = 7.0
    torch.manual_seed(0)
    assert method.losses(*samples())["total"].item() == before.item()


# ------------------------------------------------------------------------------- the prior


def test_prior_is_linear_in_the_semantics_divided_by_their_root_mean_square_norm() -> None:
    seen = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    prior = LinearGaussianPrior(seen, 3, bias=False, log_variance_limit=5.0)
    asked = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    mean, log_variance = prior(asked)
    scaled = asked / math.sqrt((25 + 1) / 2)
    torch.testing.assert_close(mean, scaled @ prior.mean.weight.T)
    torch.testing.assert_close(log_variance, scaled @ prior.log_variance.weight.T)
    assert (mean[1] == 0).all()
    assert (log_variance[1] == 0).all()


def test_prior_has_a_bias_where_asked() -> None:
    prior = LinearGaussianPrior(torch.eye(2), 3, bias=True, log_variance_limit=5.0)
    mean, log_variance = prior(torch.zeros(1, 2))
    torch.testing.assert_close(
        (mean[0], log_variance[0]), (prior.mean.bias, prior.log_variance.bias)
    )


def test_log_variances_of_the_prior_never_leave_their_limits() -> None:
    prior = LinearGaussianPrior(torch.eye(3), 50, bias=False, log_variance_limit=2.0)
    _, log_variance = prior(1000 * drawn(20, 3).float())
    assert log_variance.abs().max().item() == 2.0
    _, inside = prior(0.001 * drawn(20, 3).float())
    assert 0 < inside.abs().max().item() < 2.0


def test_losses_and_scores_of_samples_with_wild_values_are_finite(configure: Configure) -> None:
    method, (features, labels) = small(configure), samples()
    assert all(torch.isfinite(value) for value in method.losses(1e4 * features, labels).values())
    assert torch.isfinite(method.class_scores(1e4 * features)).all()
    assert method.encode(1e4 * features)[1].abs().max().item() == method.config.log_variance_limit


def test_prior_of_semantics_that_are_all_zero_is_finite() -> None:
    mean, log_variance = LinearGaussianPrior(
        torch.zeros(2, 3), 4, bias=False, log_variance_limit=5.0
    )(torch.zeros(2, 3))
    assert (mean == 0).all()
    assert (log_variance == 0).all()


def test_what_the_semantics_are_divided_by_travels_with_the_weights(configure: Configure) -> None:
    trained, other = small(configure), small(configure)
    other.prior.norm.mul_(3)
    other.load_state_dict(trained.state_dict())
    assert other.prior.norm.item() == trained.prior.norm.item()


def fitted(
    configure: Configure, semantics: np.ndarray, features: Tensor, labels: Tensor, *overrides: str
) -> tuple[list[float], float, float]:
    """Losses of 300 steps; then accuracy of seen classes (among all) and of unseen (among them)."""
    wide = (
        "method.encoder_hidden=[64]",
        "method.decoder_hidden=[64]",
        "method.latent_dim=16",
        "method.learning_rate=1.0e-2",
    )
    config = parse(configure("method=vzsl", *SMALL, *wide, "method.lambda_=0.5", *overrides)).method
    assert isinstance(config, VZSLConfig)
    torch.manual_seed(0)
    method = VZSL(
        config,
        features.shape[1],
        class_space(semantics, np.arange(len(semantics)) < len(semantics) - 3),
    )
    optimizer = method.configure_optimizers()
    seen = method.seen_mask[labels]
    found = []
    for _ in range(300):
        rows = torch.randint(int(seen.sum()), (64,))
        loss = method.losses(features[seen][rows], labels[seen][rows])["total"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append(loss.item())
    with torch.no_grad():
        scores = method.class_scores(features)
    right = scores.argmax(1) == labels
    right_among_unseen = scores.masked_fill(method.seen_mask, -torch.inf).argmax(1) == labels
    return (
        found,
        100 * right[seen].float().mean().item(),
        100 * right_among_unseen[~seen].float().mean().item(),
    )


def attributes_and_samples() -> tuple[np.ndarray, Tensor, Tensor]:
    """15 classes, 10 attributes from 0 to 100, 40 samples each around a linear function of them."""
    random = np.random.default_rng(0)
    attributes = random.uniform(0, 100, size=(15, 10))
    labels = np.repeat(np.arange(15), 40)
    centres = (attributes / 50 - 1) @ random.normal(size=(10, 20))
    features = centres[labels] + 0.5 * random.normal(size=(600, 20))
    return attributes, torch.from_numpy(features).float(), torch.from_numpy(labels)


@pytest.mark.slow
def test_training_is_as_stable_and_as_good_on_raw_attributes_as_on_normalised_ones(
    configure: Configure,
) -> None:
    attributes, features, labels = attributes_and_samples()
    raw_losses, raw_seen, raw_unseen = fitted(configure, attributes, features, labels)
    normalised = attributes / np.linalg.norm(attributes, axis=1, keepdims=True)
    losses, seen, unseen = fitted(configure, normalised, features, labels)
    assert np.isfinite(raw_losses).all()
    assert np.mean(raw_losses[-20:]) == pytest.approx(np.mean(losses[-20:]), rel=0.1)
    assert raw_seen == pytest.approx(seen, abs=5)
    assert raw_unseen == pytest.approx(unseen, abs=5)
    assert min(raw_seen, seen, raw_unseen, unseen) > 90


@pytest.mark.slow
@pytest.mark.parametrize("lambda_", [0.0, 1.0])
def test_on_raw_attributes_every_weight_of_the_margin_trains_stably(
    configure: Configure, lambda_: float
) -> None:
    losses, _, _ = fitted(configure, *attributes_and_samples(), f"method.lambda_={lambda_}")
    assert np.isfinite(losses).all()
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


@pytest.mark.slow
def test_the_unit_of_the_attributes_makes_no_difference_to_training(configure: Configure) -> None:
    attributes, features, labels = attributes_and_samples()
    # a power of two, which rounds nothing
    assert fitted(configure, attributes, features, labels) == fitted(
        configure, attributes / 128, features, labels
    )


# ------------------------------------------------------------------------------- what the frame
# asks for


def test_scores_are_minus_the_kl_to_every_class_and_leave_out_none(configure: Configure) -> None:
    method, (features, _) = small(configure), samples()
    mean, log_variance = method.encode(features)
    prior_mean, prior_log_variance = method.prior(method.semantics)
    expected = [
        [
            -torch_kl(
                gaussian(mean[b], log_variance[b]), gaussian(prior_mean[c], prior_log_variance[c])
            ).item()
            for c in range(6)
        ]
        for b in range(7)
    ]
    torch.testing.assert_close(
        method.class_scores(features), torch.tensor(expected), rtol=1e-5, atol=1e-5
    )


def test_scores_of_a_sample_do_not_depend_on_the_others(configure: Configure) -> None:
    method, (features, _) = small(configure).eval(), samples()
    torch.testing.assert_close(
        method.class_scores(features)[2:3], method.class_scores(features[2:3])
    )


def test_generated_features_are_decoded_draws_of_the_class_prior(configure: Configure) -> None:
    method = small(configure, "method.dropout=0.5")
    torch.manual_seed(3)
    found = method.generate(method.semantics, 2)
    assert found.shape == (6, 2, 5)
    assert method.decoder is not None
    assert method.decoder.training
    method.eval()
    mean, log_variance = method.prior(method.semantics)
    torch.manual_seed(3)
    latent = reparameterize(mean.repeat_interleave(2, 0), log_variance.repeat_interleave(2, 0))
    torch.testing.assert_close(found.view(12, 5), method.decoder(latent).detach())


def test_latent_space_holds_latent_means_of_samples_and_prior_means_of_all_classes(
    configure: Configure,
) -> None:
    method, (features, _) = small(configure), samples()
    points, centres = method.latent_space(features)
    torch.testing.assert_close(points, method.encoder(features)[:, :4].detach())
    torch.testing.assert_close(centres, method.prior(method.semantics)[0].detach())


@pytest.mark.slow
def test_the_named_variants_are_vzsl_less_one_term(configure: Configure) -> None:
    values = {
        name: parse(configure(f"method={name}")).method.model_dump()
        for name in ("vzsl", "vzsl_no_margin", "vzsl_no_reconstruction")
    }
    assert values["vzsl_no_margin"] == {**values["vzsl"], "name": "vzsl_no_margin", "lambda_": 0.0}
    assert values["vzsl_no_reconstruction"] == {
        **values["vzsl"],
        "name": "vzsl_no_reconstruction",
        "reconstruction": False,
    }


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["flo", "digits", "synthetic"])
def test_settings_found_for_vzsl_leave_the_variants_without_their_term(
    configure: Configure, dataset: str
) -> None:
    for name, key, value in (
        ("vzsl_no_margin", "lambda_", 0.0),
        ("vzsl_no_reconstruction", "reconstruction", False),
    ):
        assert (
            parse(configure(f"method={name}", f"dataset={dataset}")).method.model_dump()[key]
            == value
        )


@pytest.mark.parametrize(
    "override",
    [
        "method.lambda_=-1",
        "method.decoder_variance=0",
        "method.log_variance_limit=0",
        "method.dropout=1",
    ],
)
def test_values_out_of_range_are_named(configure: Configure, override: str) -> None:
    key = override.partition("=")[0].replace(".", r"\.")
    with pytest.raises(ConfigError, match=key):
        parse(configure("method=vzsl", override))
