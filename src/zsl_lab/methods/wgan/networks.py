"""The networks of the feature-generating Wasserstein GANs.

Every first layer takes two inputs side by side, ``W [x; a] + b``. It is kept as two maps, so that
what depends on the semantics alone is computed once where many x share them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

#: negative slope of the hidden units (authors' code)
SLOPE = 0.2


def initialize(network: nn.Module) -> None:
    """Draw the weights of linear maps from N(0, 0.02^2) and set biases to 0 (authors' code)."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Conditional(nn.Module):
    """The layer ``W [x; a] + b``.

    Args:
        input_dim: Dimension of x.
        semantic_dim: Q.
        width: Dimension of the output, H.
    """

    def __init__(self, input_dim: int, semantic_dim: int, width: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(input_dim, width)
        self.of_semantics = nn.Linear(semantic_dim, width, bias=False)

    def forward(self, inputs: Tensor, semantics: Tensor) -> Tensor:
        """``[..., H]``; leading dimensions of inputs and semantics are broadcast."""
        output: Tensor = self.of_input(inputs) + self.of_semantics(semantics)
        return output


class Generator(nn.Module):
    """[z; a] -> H -> D; the method applies the activation of the output.

    Args:
        noise_dim: Z.
        semantic_dim: Q.
        hidden_dim: H.
        feature_dim: D.
    """

    def __init__(self, noise_dim: int, semantic_dim: int, hidden_dim: int, feature_dim: int):
        super().__init__()
        self.noise_dim = noise_dim
        self.first = Conditional(noise_dim, semantic_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, feature_dim)
        initialize(self)

    def hidden(self, noise: Tensor, semantics: Tensor) -> Tensor:
        """Hidden units, ``[..., H]``."""
        return leaky_relu(self.first(noise, semantics), SLOPE)

    def forward(self, noise: Tensor, semantics: Tensor) -> Tensor:
        """The output of the last map, ``[..., D]``."""
        output: Tensor = self.output(self.hidden(noise, semantics))
        return output


class Critic(nn.Module):
    """[x; a] -> H -> 1.

    Args:
        feature_dim: D.
        semantic_dim: Q.
        hidden_dim: H.
    """

    def __init__(self, feature_dim: int, semantic_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.first = Conditional(feature_dim, semantic_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, 1)
        initialize(self)

    def forward(self, features: Tensor, semantics: Tensor) -> Tensor:
        """One value a row, ``[B]``."""
        values: Tensor = self.output(leaky_relu(self.first(features, semantics), SLOPE))
        return values.squeeze(-1)

    def compare(
        self, real: Tensor, generated: Tensor, semantics: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The values of real and generated features, and the slope in x between them.

        The gradient of a network with one hidden layer of leaky ReLUs is written out: it is the sum
        of the first layer's rows, weighted by the output weights times 1 or 0.2. Which of the two
        applies depends on the sign of the hidden units, which are linear in x before the
        activation and so are interpolated between those of the real and the generated feature.
        This needs neither a forward pass of its own nor a second derivative by autograd.

        Args:
            real: ``[B, D]``.
            generated: ``[B, D]``.
            semantics: ``[B, Q]``.
            share: Weight of the real feature in the point where the slope is taken, ``[B, 1]``.

        Returns:
            Values of real and of generated features, and norms of the slopes, ``[B]`` each.
        """
        both = self.first(torch.stack([real, generated.to(real.dtype)]), semantics)
        values = self.output(leaky_relu(both, SLOPE)).squeeze(-1)
        with torch.no_grad():
            between = torch.lerp(both[1], both[0], share.to(both.dtype))
            gain = torch.where(between > 0, torch.ones_like(between), SLOPE)
        slope = (gain * self.output.weight) @ self.first.of_input.weight
        return values[0], values[1], slope.to(real.dtype).norm(dim=1)


class Encoder(nn.Module):
    """[x; a] -> H -> 2 Z -> mean and log-variance of q(z|x, a).

    Args:
        feature_dim: D.
        semantic_dim: Q.
        hidden_dim: H.
        noise_dim: Z.
    """

    def __init__(self, feature_dim: int, semantic_dim: int, hidden_dim: int, noise_dim: int):
        super().__init__()
        self.first = Conditional(feature_dim, semantic_dim, hidden_dim)
        self.second = nn.Linear(hidden_dim, 2 * noise_dim)
        self.moments = nn.Linear(2 * noise_dim, 2 * noise_dim)
        initialize(self)

    def forward(self, features: Tensor, semantics: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, ``[B, Z]`` each."""
        hidden = leaky_relu(self.first(features, semantics), SLOPE)
        mean, log_variance = self.moments(leaky_relu(self.second(hidden), SLOPE)).chunk(2, -1)
        return mean, log_variance


class Decoder(nn.Module):
    """x -> H -> Q: the semantics of a feature, scaled to norm 1.

    Args:
        feature_dim: D.
        hidden_dim: H.
        semantic_dim: Q.
    """

    def __init__(self, feature_dim: int, hidden_dim: int, semantic_dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(feature_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, semantic_dim)
        initialize(self)

    def hidden(self, features: Tensor) -> Tensor:
        """Hidden units, ``[..., H]``."""
        return leaky_relu(self.first(features), SLOPE)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden units ``[..., H]`` and semantics ``[..., Q]``."""
        hidden = self.hidden(features)
        return hidden, normalize(self.output(hidden), dim=-1)


class Feedback(nn.Module):
    """Maps the decoder's hidden units to values added to the generator's: two layers of width H.

    Args:
        decoder_hidden: Width of the decoder's hidden layer.
        generator_hidden: Width of the generator's hidden layer, H.
    """

    def __init__(self, decoder_hidden: int, generator_hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(decoder_hidden, generator_hidden)
        self.second = nn.Linear(generator_hidden, generator_hidden)
        initialize(self)

    def forward(self, hidden: Tensor) -> Tensor:
        """``[..., H]``."""
        return leaky_relu(self.second(leaky_relu(self.first(hidden), SLOPE)), SLOPE)
