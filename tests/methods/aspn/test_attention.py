from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zsl_lab.methods.aspn.attention import CategoryAttention


def attention(
    width: int = 4, alpha: float = 0.9, *, learn_alpha: bool = True, scaled: bool = False
) -> CategoryAttention:
    torch.manual_seed(0)
    return CategoryAttention(width, alpha=alpha, learn_alpha=learn_alpha, scaled=scaled).double()


def rows_of(count: int, width: int = 4) -> Tensor:
    return torch.randn(count, width, dtype=torch.float64, requires_grad=True)


def written_out(
    module: CategoryAttention, rows: Tensor, attended: Tensor, *, scaled: bool
) -> Tensor:
    """Eq. 5 and 6 with one loop per index; the softmax is over i, which is summed over."""
    alpha = 1 / (1 + torch.exp(-module.alpha_logit))
    out = []
    for j in range(len(rows)):
        mixture, total = torch.zeros_like(rows[j]), torch.zeros_like(rows[0, 0])
        for i in range(len(attended)):
            k = torch.zeros_like(rows[0, 0])
            for a in range(rows.shape[1]):
                k = k + module.f.weight[a].dot(rows[j]) * module.g.weight[a].dot(attended[i])
            similar = torch.exp(k / math.sqrt(rows.shape[1]) if scaled else k)
            mixture, total = mixture + similar * attended[i], total + similar
        out.append(alpha * mixture / total + (1 - alpha) * rows[j])
    return torch.stack(out)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_weights_of_the_attended_rows_sum_to_one(scaled: bool) -> None:
    weights = attention(scaled=scaled).weights(rows_of(6), rows_of(3))
    assert weights.shape == (6, 3)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("attended", [1, 3, 5, "the rows themselves"])
@pytest.mark.parametrize("scaled", [False, True])
def test_values_and_gradients_are_those_of_the_written_out_equations(
    scaled: bool, attended: int | str
) -> None:
    module = attention(scaled=scaled)
    rows = rows_of(5)
    others = rows_of(attended) if isinstance(attended, int) else rows
    upstream = torch.randn(5, 4, dtype=torch.float64)
    parameters = [rows, others, *module.parameters()]
    found, expected = module(rows, others), written_out(module, rows, others, scaled=scaled)
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(found, parameters, upstream),
        torch.autograd.grad(expected, parameters, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_exchanging_f_and_g_and_the_indices_of_equation_5_gives_the_same_model() -> None:
    module, other = attention(), attention()
    other.f, other.g = module.g, module.f
    rows, attended = rows_of(5), rows_of(3)
    k = other.f(attended) @ other.g(rows).T  # [i, j], as the paper writes it
    torch.testing.assert_close(module.weights(rows, attended), torch.softmax(k, dim=0).T)


def test_each_output_row_is_a_convex_mixture_of_its_row_and_the_attended_rows() -> None:
    rows, attended = rows_of(6), rows_of(3)
    out = attention()(rows, attended)
    for at, row in enumerate(out):
        mixed = torch.cat([attended, rows[at : at + 1]])
        assert (row >= mixed.amin(0) - 1e-12).all()
        assert (row <= mixed.amax(0) + 1e-12).all()


def test_the_order_of_the_attended_rows_does_not_matter() -> None:
    module, rows, attended = attention(), rows_of(6), rows_of(5)
    torch.testing.assert_close(module(rows, attended[torch.randperm(5)]), module(rows, attended))


def test_alpha_begins_at_its_initial_value_and_stays_between_0_and_1() -> None:
    module = attention(alpha=0.9)
    assert module.alpha.item() == pytest.approx(0.9, abs=1e-6)
    module.alpha_logit.data.fill_(1e3)
    assert 0 <= module.alpha.item() <= 1


def test_a_fixed_alpha_gets_no_gradient() -> None:
    module = attention(learn_alpha=False)
    module(rows_of(3), rows_of(2)).sum().backward()
    assert module.alpha_logit.grad is None
    assert module.f.weight.grad is not None


def test_a_row_that_attends_to_rows_equal_to_it_stays_as_it_is() -> None:
    rows = torch.randn(1, 4, dtype=torch.float64).repeat(3, 1)
    torch.testing.assert_close(attention()(rows, rows), rows)
