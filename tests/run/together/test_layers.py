"""The layers compute what those of torch.nn compute."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zsl_lab.run.together.layers import MOMENTUM, replace_layers


def norm() -> nn.BatchNorm1d:
    torch.manual_seed(0)
    made = nn.BatchNorm1d(3).double()
    for tensor in (made.weight, made.bias, made.running_mean, made.running_var):
        assert tensor is not None
        tensor.data.uniform_(0.5, 2)
    return made


def replaced(network: nn.Sequential, masks: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    recorded: dict[str, tuple[Tensor, Tensor]] = {}
    replace_layers(network, masks, recorded)
    return recorded


def test_batch_normalisation_in_training_records_the_statistics_of_the_batch() -> None:
    mine, theirs = nn.Sequential(norm()), norm()
    recorded = replaced(mine, [])
    rows = torch.randn(5, 3, dtype=torch.float64)
    before = [t.clone() for t in (theirs.running_mean, theirs.running_var) if t is not None]
    torch.testing.assert_close(mine(rows), theirs(rows))
    after = [theirs.running_mean, theirs.running_var]
    for old, new, of_batch in zip(before, after, recorded["0"], strict=True):
        torch.testing.assert_close(old + MOMENTUM * (of_batch - old), new)


def test_batch_normalisation_in_evaluation_uses_the_running_statistics() -> None:
    mine, theirs = nn.Sequential(norm()), norm().eval()
    recorded = replaced(mine, [])
    rows = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(mine.eval()(rows), theirs(rows))
    assert not recorded


def test_dropout_takes_the_given_factors_in_their_order_and_only_in_training() -> None:
    masks = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])]
    network = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.0), nn.Dropout(0.75))
    replaced(network, masks)
    rows = torch.ones(1, 2)
    assert network.eval()(rows).tolist() == [[1, 1]]
    assert len(masks) == 2
    assert network.train()(rows).tolist() == [[0, 0]]
    assert masks == []


def test_layers_are_found_within_networks_and_named_by_their_place() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3)))
    recorded = replaced(network, [])
    network(torch.randn(4, 3))
    assert list(recorded) == ["1.0"]
