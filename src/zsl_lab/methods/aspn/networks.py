"""The networks of ASPN (section 3.2: three layers, 1,800 hidden units with ReLU)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from zsl_lab.methods.aspn.attention import CategoryAttention


class Generator(nn.Module):
    """E(s, z): from class semantics and noise to a feature, dense, (leaky) ReLU, dense, ReLU.

    Args:
        semantic_dim: Q.
        noise_dim: Dimension of z.
        hidden_dim: H.
        feature_dim: D.
        attention: Category attention among the rows of a batch, of width H or D; None for none.
        attention_on_output: Whether it acts on the output instead of the hidden activations.
        semantic_scale: Class semantics are multiplied by it on their way in.
        noise_scale: The noise likewise.
        negative_slope: Of the hidden layer's activation; 0 is ReLU.
        output_scale: The output layer's initial weights are multiplied by it. What random weights
            say about directions of semantics that no seen class has is never unlearnt, and is all
            that tells unseen classes apart there.
    """

    def __init__(
        self,
        semantic_dim: int,
        noise_dim: int,
        hidden_dim: int,
        feature_dim: int,
        *,
        attention: CategoryAttention | None,
        attention_on_output: bool,
        semantic_scale: float,
        noise_scale: float,
        negative_slope: float,
        output_scale: float,
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(semantic_dim + noise_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, feature_dim)
        with torch.no_grad():
            self.output.weight.mul_(output_scale)
        self.attention = attention
        self.noise_dim = noise_dim
        self._attention_on_output = attention_on_output
        self._semantic_scale = semantic_scale
        self._noise_scale = noise_scale
        self._negative_slope = negative_slope

    def forward(self, semantics: Tensor, noise: Tensor, *, attend: bool = False) -> Tensor:
        """Generate a feature for each row.

        Args:
            semantics: ``[B, Q]``.
            noise: z, ``[B, Z]``.
            attend: Whether rows attend to each other (Eq. 5, 6); then a row's feature depends on
                its batch.

        Returns:
            ``[B, D]``, not negative.
        """
        hidden = leaky_relu(
            self.hidden(
                torch.cat([self._semantic_scale * semantics, self._noise_scale * noise], dim=1)
            ),
            self._negative_slope,
        )
        if attend and self.attention is not None and not self._attention_on_output:
            hidden = self.attention(hidden)
        features = relu(self.output(hidden))
        if attend and self.attention is not None and self._attention_on_output:
            features = self.attention(features)
        return features

    def prototypes(self, semantics: Tensor) -> Tensor:
        """E(s, 0), without noise and attention: ``[C, D]`` for semantics ``[C, Q]``."""
        features: Tensor = self(semantics, semantics.new_zeros(len(semantics), self.noise_dim))
        return features


class Inference(nn.Module):
    """D(x): from a feature back to class semantics and noise.

    Args:
        feature_dim: D.
        hidden_dim: H.
        semantic_dim: Q.
        noise_dim: Dimension of z.
    """

    def __init__(
        self, feature_dim: int, hidden_dim: int, semantic_dim: int, noise_dim: int
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(feature_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, semantic_dim + noise_dim),
        )
        self._sizes = [semantic_dim, noise_dim]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Infer ``[B, Q]`` semantics and ``[B, Z]`` noise from ``[B, D]`` features."""
        semantics, noise = self.layers(features).split(self._sizes, dim=1)
        return semantics, noise


class Critic(nn.Module):
    """C(x, s): how real a feature of a class looks, any real number.

    Args:
        feature_dim: D.
        semantic_dim: Q.
        hidden_dim: H.
    """

    def __init__(self, feature_dim: int, semantic_dim: int, hidden_dim: int) -> None:
        super().__init__()
        # no bias at the end: a constant cancels in Eq. 4
        last = nn.Linear(hidden_dim, 1, bias=False)
        self.layers = nn.Sequential(
            nn.Linear(feature_dim + semantic_dim, hidden_dim), nn.LeakyReLU(0.2), last
        )

    def forward(self, features: Tensor, semantics: Tensor) -> Tensor:
        """One value a row, ``[B]``, for ``[B, D]`` features and ``[B, Q]`` semantics."""
        values: Tensor = self.layers(torch.cat([features, semantics], dim=1)).squeeze(1)
        return values
