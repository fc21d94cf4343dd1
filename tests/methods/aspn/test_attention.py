from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zsl_lab.methods.aspn.attention import CategoryAttention

OPTIONS = [
    {"scaled": scaled, "swapped": swapped} for scaled in (False, True) for swapped in (False, True)
]


def attention(
    width: int = 4,
    alpha: float = 0.9,
    *,
    learn_alpha: bool = True,
    scaled: bool = False,
    swapped: bool = False,
) -> CategoryAttention:
    torch.manual_seed(0)
    return CategoryAttention(
        width, alpha=alpha, learn_alpha=learn_alpha, scaled=scaled, swapped=swapped
    ).double()


def written_out(module: CategoryAttention, rows: Tensor, *, scaled: bool, swapped: bool) -> Tensor:
    """Eq. 5 and 6 with one loop per index, the softmax over the index that is mixed over."""
    batch, width = rows.shape
    f, g = (module.g, module.f) if swapped else (module.f, module.g)
    alpha = 1 / (1 + torch.exp(-module.alpha_logit))
    out = []
    for i in range(batch):
        mixture, total = torch.zeros_like(rows[i]), torch.zeros_like(rows[0, 0])
        for j in range(batch):
            k = torch.zeros_like(rows[0, 0])
            for a in range(width):
                k = k + f.weight[a].dot(rows[i]) * g.weight[a].dot(rows[j])
            similar = torch.exp(k / math.sqrt(width) if scaled else k)
            mixture, total = mixture + similar * rows[j], total + similar
        out.append(alpha * mixture / total + (1 - alpha) * rows[i])
    return torch.stack(out)


@pytest.mark.parametrize("options", OPTIONS)
def test_every_row_of_the_attention_matrix_sums_to_one(options: dict[str, bool]) -> None:
    weights = attention(**options).weights(torch.randn(6, 4, dtype=torch.float64))
    assert weights.shape == (6, 6)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("options", OPTIONS)
def test_values_and_gradients_are_those_of_the_written_out_equations(
    options: dict[str, bool],
) -> None:
    module = attention(**options)
    rows = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(5, 4, dtype=torch.float64)
    parameters = [rows, *module.parameters()]
    found, expected = module(rows), written_out(module, rows, **options)
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(found, parameters, upstream),
        torch.autograd.grad(expected, parameters, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_each_output_row_is_a_convex_mixture_of_the_batch() -> None:
    rows = torch.randn(6, 4, dtype=torch.float64)
    out = attention()(rows)
    assert (out >= rows.amin(0) - 1e-12).all()
    assert (out <= rows.amax(0) + 1e-12).all()


def test_alpha_begins_where_it_is_told_and_stays_between_0_and_1() -> None:
    module = attention(alpha=0.9)
    assert module.alpha.item() == pytest.approx(0.9, abs=1e-6)
    module.alpha_logit.data.fill_(1e3)
    assert 0 <= module.alpha.item() <= 1


def test_an_alpha_that_is_fixed_gets_no_gradient() -> None:
    module = attention(learn_alpha=False)
    module(torch.randn(3, 4, dtype=torch.float64)).sum().backward()
    assert module.alpha_logit.grad is None
    assert module.f.weight.grad is not None


def test_equal_rows_stay_as_they_are() -> None:
    rows = torch.randn(1, 4, dtype=torch.float64).repeat(3, 1)
    torch.testing.assert_close(attention()(rows), rows)
