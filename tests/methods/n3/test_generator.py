from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zsl_lab.extraction.backbones import AdaptedTensor
from zsl_lab.methods.n3.generator import (
    Adaptation,
    MeanEncoder,
    ParameterAdapter,
    SemanticEncoder,
    mean_state,
)

K, T, E, WIDTH, F = 5, 7, 12, 16, 10
TENSORS = (
    AdaptedTensor("first", "conv", 4, 27, (4, 3, 3, 3)),
    AdaptedTensor("second", "conv", 6, 16, (6, 4, 2, 2)),
    AdaptedTensor("third", "conv", 4, 6, (4, 6, 1, 1)),
)


def semantic_encoder(layers: int = 1, dropout: float = 0.0) -> SemanticEncoder:
    torch.manual_seed(0)
    return SemanticEncoder(E, WIDTH, layers, heads=2, dropout=dropout, state_dropout=dropout)


def adapter(
    mu: float = 1e-3,
    checkpointing: bool = False,
    dropout: float = 0.0,
    tensors: tuple[AdaptedTensor, ...] = TENSORS,
) -> ParameterAdapter:
    torch.manual_seed(1)
    return ParameterAdapter(tensors, F, WIDTH, 1, 2, 2, dropout, mu, checkpointing)


def descriptions() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([7, 3, 1, 5, 6])
    return torch.randn(K, T, E, generator=generator), torch.arange(T) < lengths[:, None]


def embeddings() -> Tensor:
    return torch.randn(K, WIDTH, generator=torch.Generator().manual_seed(3))


def test_a_class_embedding_is_the_attention_weighted_mean_of_its_own_words() -> None:
    model, (states, mask) = semantic_encoder(layers=0).eval(), descriptions()
    found = model(states, mask)
    for row, length in enumerate(mask.sum(1).tolist()):
        hidden = torch.nn.functional.layer_norm(
            states[row, :length] @ model.projection.weight.T + model.projection.bias,
            (WIDTH,),
            model.norm.weight,
            model.norm.bias,
        )
        scores = torch.stack(
            [word @ model.attention.weight[0] + model.attention.bias[0] for word in hidden]
        )
        weights = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(
            found[row], sum(w * word for w, word in zip(weights, hidden, strict=True))
        )


@pytest.mark.parametrize("training", [True, False])
def test_padding_and_other_classes_do_not_change_a_class_embedding(training: bool) -> None:
    model, (states, mask) = semantic_encoder(layers=2).train(training), descriptions()
    together = model(states, mask)
    for row, length in enumerate(mask.sum(1).tolist()):
        alone = model(states[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-5)


def test_a_mean_embedding_is_the_projected_direction_from_the_seen_classes_mean() -> None:
    torch.manual_seed(0)
    (states, mask), centre = descriptions(), torch.linspace(-1, 1, E)
    model = MeanEncoder(centre, WIDTH, noise=3.0).eval()
    found = model(states, mask)
    for row, length in enumerate(mask.sum(1).tolist()):
        away = states[row, :length].sum(0) / length - centre
        direction = away / away.square().mean().sqrt()
        torch.testing.assert_close(
            found[row], direction @ model.projection.weight.T + model.projection.bias
        )


@pytest.mark.slow
def test_noise_moves_a_mean_embedding_in_training_only() -> None:
    torch.manual_seed(0)
    given = descriptions()
    quiet, noisy = (
        MeanEncoder(torch.zeros(E), WIDTH, noise=0.0),
        MeanEncoder(torch.zeros(E), WIDTH, noise=0.5),
    )
    noisy.load_state_dict(quiet.state_dict())
    assert torch.equal(noisy.eval()(*given), quiet.train()(*given))
    noisy.train()
    with torch.no_grad():
        noisy.projection.weight.copy_(torch.eye(WIDTH, E))
        moved = torch.stack([noisy(*given) for _ in range(4000)])
    assert moved[:, :, :E].std(0).mean() == pytest.approx(0.5, rel=0.02)


def test_the_mean_state_counts_words_and_no_padding() -> None:
    states = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [7.0], [9.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert mean_state(states, mask).tolist() == [[2.0], [7.0]]


def test_every_tensor_gets_a_delta_of_its_shape_and_every_class_a_row() -> None:
    found = adapter()(embeddings())
    assert {name: tuple(delta.shape) for name, delta in found.deltas.items()} == {
        tensor.name: tensor.shape for tensor in TENSORS
    }
    assert list(found.deltas) == [tensor.name for tensor in TENSORS]
    assert found.classifier.shape == (K, F)


def test_reordering_the_classes_reorders_the_rows_and_leaves_the_deltas() -> None:
    model, order = adapter(), torch.tensor([3, 0, 4, 1, 2])
    first, second = model(embeddings()), model(embeddings()[order])
    torch.testing.assert_close(second.classifier, first.classifier[order], rtol=1e-4, atol=1e-5)
    for name, delta in first.deltas.items():
        torch.testing.assert_close(second.deltas[name], delta, rtol=1e-4, atol=1e-7)


def test_the_deltas_depend_on_the_classes() -> None:
    model = adapter()
    first, second = model(embeddings()), model(embeddings()[:2])
    assert all(
        not torch.allclose(first.deltas[name], second.deltas[name], rtol=1e-2)
        for name in first.deltas
    )
    assert not torch.allclose(first.classifier[:2], second.classifier, rtol=1e-2)


def test_deltas_are_scaled_by_the_mu_of_their_tensor() -> None:
    small, large = adapter(mu=1e-3), adapter(mu=2e-3)
    with torch.no_grad():
        large.mu[1] = 5e-3
    before, after = small(embeddings()).deltas, large(embeddings()).deltas
    for name, factor in (("first", 2), ("second", 5), ("third", 2)):
        torch.testing.assert_close(after[name], factor * before[name])


def test_with_mu_0_nothing_is_adapted_and_mu_stays() -> None:
    model = adapter(mu=0.0)
    assert all(not delta.any() for delta in model(embeddings()).deltas.values())
    assert not model.mu.requires_grad


def test_without_tensors_only_a_classifier_is_generated() -> None:
    model = adapter(tensors=())
    assert model(embeddings()).deltas == {}
    assert not any(
        name.startswith(("decoder", "heads", "mu")) for name, _ in model.named_parameters()
    )


def test_filters_attend_to_those_of_their_own_tensor_only() -> None:
    model = adapter()
    before = model(embeddings()).deltas
    with torch.no_grad():
        model.tensor_embedding[0] += torch.arange(WIDTH)
    after = model(embeddings()).deltas
    assert not torch.allclose(before["first"], after["first"])
    # the third goes through the decoder with the first
    torch.testing.assert_close(before["second"], after["second"])
    torch.testing.assert_close(before["third"], after["third"])


def sum_of_squares(adaptation: Adaptation) -> Tensor:
    return torch.stack(
        [tensor.square().sum() for tensor in (*adaptation.deltas.values(), adaptation.classifier)]
    ).sum()


def test_at_the_first_step_a_gradient_reaches_every_parameter() -> None:
    words, model = semantic_encoder(), adapter()
    sum_of_squares(model(words(*descriptions()))).backward()  # type: ignore[no-untyped-call]
    for name, parameter in (*words.named_parameters(), *model.named_parameters()):
        # a constant added to every word's score changes no weight, one added to every key no
        # attention
        if name == "attention.bias":
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_checkpointing_changes_neither_values_nor_gradients(dropout: float) -> None:
    found = []
    for checkpointing in (False, True):
        model = adapter(checkpointing=checkpointing, dropout=dropout).train()
        torch.manual_seed(4)
        loss = sum_of_squares(model(embeddings()))
        loss.backward()  # type: ignore[no-untyped-call]
        found.append((loss.detach(), [parameter.grad for parameter in model.parameters()]))
    assert torch.equal(found[0][0], found[1][0])
    for plain, again in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(plain, again)
