from __future__ import annotations

import torch
from torch import Tensor

from zsl_lab.methods.wgan.networks import Critic, Decoder, Encoder, Feedback, Generator
from zsl_lab.nn.gradient_penalty import gradient_penalty


def doubles(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def large(critic: Critic) -> Critic:
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return critic


def test_a_first_layer_in_two_parts_is_that_of_both_inputs_side_by_side() -> None:
    generator = Generator(3, 4, 8, 6).double()
    z, a = doubles((5, 3), (5, 4))
    first = generator.first
    joined = torch.cat([first.of_input.weight, first.of_semantics.weight], 1)
    hidden = torch.cat([z, a], 1) @ joined.T + first.of_input.bias
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    expected = hidden @ generator.output.weight.T + generator.output.bias
    torch.testing.assert_close(generator(z, a), expected)
    # one row of semantics for several of noise
    torch.testing.assert_close(generator(z, a[:1]), generator(z, a[:1].expand(5, -1)))


def test_weights_are_drawn_with_deviation_002_and_biases_are_0() -> None:
    for network in (
        Generator(90, 90, 90, 90),
        Critic(90, 90, 90),
        Encoder(90, 90, 90, 90),
        Decoder(90, 90, 90),
        Feedback(90, 90),
    ):
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                assert not parameter.any()
            else:
                assert 0.015 < parameter.std().item() < 0.025


def test_slope_of_the_critic_is_that_of_autograd_in_value_and_gradient() -> None:
    critic = large(Critic(6, 4, 7).double())
    real, generated, a = doubles((5, 6), (5, 6), (5, 4))
    torch.manual_seed(1)
    share = torch.rand(5, 1, dtype=torch.float64)
    torch.manual_seed(1)
    expected = gradient_penalty(lambda x: critic(x, a), real, generated)
    of_real, of_generated, slope = critic.compare(real, generated, a, share)
    torch.testing.assert_close(of_real, critic(real, a))
    torch.testing.assert_close(of_generated, critic(generated, a))
    found = (slope.double() - 1).square().mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    weights = [critic.first.of_input.weight, critic.output.weight]
    for mine, reference in zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-6)


def test_decoded_semantics_have_length_1() -> None:
    decoder = Decoder(6, 8, 4)
    hidden, semantics = decoder(torch.randn(5, 6))
    assert hidden.shape == (5, 8)
    torch.testing.assert_close(semantics.norm(dim=1), torch.ones(5))
