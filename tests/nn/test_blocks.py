from __future__ import annotations

import torch
from torch import nn

from zsl_lab.nn.blocks import geometric_widths, mlp, set_dropout


def kinds(network: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in network]


def test_a_block_is_dense_leaky_relu_batch_norm_dropout_and_the_last_layer_is_plain() -> None:
    block = ["Linear", "LeakyReLU", "BatchNorm1d", "Dropout"]
    assert kinds(mlp([5, 4, 3, 2], dropout=0.5, batch_norm=True)) == [*block, *block, "Linear"]


def test_without_hidden_layers_it_is_one_linear_map() -> None:
    assert kinds(mlp([5, 2], dropout=0.5, batch_norm=True)) == ["Linear"]


def test_the_slope_of_leaky_relu_is_that_of_the_supplement() -> None:
    activation = mlp([5, 4, 2], dropout=0.0, batch_norm=False)[1]
    assert isinstance(activation, nn.LeakyReLU)
    assert activation.negative_slope == 0.2


def test_geometric_widths_lie_between_both_ends_at_a_constant_ratio() -> None:
    assert geometric_widths(64, 1, 6) == [32, 16, 8, 4, 2]
    assert len(geometric_widths(1024, 64, 6)) == 5


def test_set_dropout_leaves_batch_norm_as_it_is() -> None:
    network = mlp([3, 8, 2], dropout=0.5, batch_norm=True).eval()
    assert set_dropout(network, active=True) == 1
    before = network.state_dict()["2.running_mean"].clone()
    assert not torch.equal(network(torch.ones(64, 3)), network(torch.ones(64, 3)))
    assert torch.equal(network.state_dict()["2.running_mean"], before)
