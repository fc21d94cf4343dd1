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
        attention: Category attention, of width H or D; None for none.
        attention_on_output: Whether it acts on the output instead of the hidden activations.
        semantic_scale: Class semantics are multiplied by it before the first layer.
        noise_scale: The noise is multiplied by it before the first layer.
        negative_slope: Of the hidden layer's activation; 0 is ReLU.
        output_scale: The output layer's initial weights are multiplied by it. Training does not
            change weights in directions in which seen classes do not differ; where unseen classes
            differ in such directions, their prototypes depend on the initial weights.
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

    def forward(
        self,
        semantics: Tensor,
        noise: Tensor,
        *,
        attend: bool = False,
        attended: Tensor | None = None,
    ) -> Tensor:
        """Generate a feature for each row.

        Args:
            semantics: ``[B, Q]``.
            noise: z, ``[B, Z]``.
            attend: Whether rows attend to ``attended`` (Eq. 5, 6), if there is an attention.
            attended: What :meth:`class_rows` returns; None for the rows of this batch, so that
                each feature depends on the whole batch.

        Returns:
            ``[B, D]``, not negative.
        """
        rows = self._activations(semantics, noise)
        if attend and self.attention is not None and not self._attention_on_output:
            rows = self.attention(rows, rows if attended is None else attended)
        features = relu(self.output(rows))
        if attend and self.attention is not None and self._attention_on_output:
            features = self.attention(features, features if attended is None else attended)
        return features

    def prototypes(self, semantics: Tensor, attended: Tensor | None = None) -> Tensor:
        """E(s, 0), without noise.

        Args:
            semantics: ``[C, Q]``.
            attended: What :meth:`class_rows` returns; None for prototypes without attention.

        Returns:
            ``[C, D]``.
        """
        features: Tensor = self(
            semantics, self._no_noise(semantics), attend=attended is not None, attended=attended
        )
        return features

    def class_rows(self, semantics: Tensor) -> Tensor:
        """Rows of classes to attend to: the activations of E(s, 0) that enter the attention.

        Args:
            semantics: ``[C, Q]``.

        Returns:
            ``[C, H]`` hidden activations, or ``[C, D]`` features if attention acts on the output.
        """
        rows = self._activations(semantics, self._no_noise(semantics))
        return relu(self.output(rows)) if self._attention_on_output else rows

    def _activations(self, semantics: Tensor, noise: Tensor) -> Tensor:
        inputs = torch.cat([self._semantic_scale * semantics, self._noise_scale * noise], dim=1)
        return leaky_relu(self.hidden(inputs), self._negative_slope)

    def _no_noise(self, semantics: Tensor) -> Tensor:
        return semantics.new_zeros(len(semantics), self.noise_dim)


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
    """C(x, s): the critic's value of a feature and its class's semantics, unbounded.

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
        """Value of each row, ``[B]``, for ``[B, D]`` features and ``[B, Q]`` semantics."""
        values: Tensor = self.layers(torch.cat([features, semantics], dim=1)).squeeze(1)
        return values
