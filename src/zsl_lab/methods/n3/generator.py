"""SEM and PAM: from class descriptions to parameters (N3 paper, sections 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from zsl_lab.extraction.backbones import AdaptedTensor


@dataclass(frozen=True, eq=False)
class Adaptation:
    """The parameters generated for the classes of one task.

    Attributes:
        deltas: ``mu * DeltaW`` of every adapted tensor, by name, in the tensor's shape.
        classifier: One row per class of the task, in order, ``[k, F]``.
    """

    deltas: dict[str, Tensor]
    classifier: Tensor


class SemanticEncoder(nn.Module):
    """SEM: a transformer over the words of a description, pooled by attention to an embedding.

    Args:
        token_dim: E, width of the frozen text encoder's states.
        hidden_dim: Width of the class embedding.
        layers: Transformer layers; 0 pools the projected states as they are.
        heads: Attention heads of each layer.
        dropout: Dropout of the layers.
        state_dropout: Dropout of the input states.
    """

    def __init__(
        self,
        token_dim: int,
        hidden_dim: int,
        layers: int,
        heads: int,
        dropout: float,
        state_dropout: float,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(state_dropout)
        self.projection = nn.Linear(token_dim, hidden_dim)
        self.layers = nn.ModuleList(
            _encoder_layer(hidden_dim, heads, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.attention = nn.Linear(hidden_dim, 1)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Embed descriptions one by one: a class's embedding does not depend on the other classes.

        Args:
            states: Token states, ``[k, T, E]``.
            mask: True where there is a token, bool ``[k, T]``; at least one in every row.

        Returns:
            ``[k, hidden_dim]``.
        """
        hidden = self.projection(self.dropout(states))
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=~mask)
        hidden = self.norm(hidden)
        weights = self.attention(hidden).squeeze(-1).masked_fill(~mask, float("-inf")).softmax(1)
        pooled: Tensor = (weights.unsqueeze(-1) * hidden).sum(1)
        return pooled


class MeanEncoder(nn.Module):
    """Replaces SEM: the direction from the seen classes' mean state to a description's mean.

    With few classes it overfits less than SEM; with noise, training a linear generator on it
    amounts to ridge regression. The directions of several paragraphs are put side by side, each
    with the same length.

    Args:
        seen_mean: Average of the seen classes' mean states, ``[E]``, or ``[P, E]`` for P
            paragraphs; stored with the weights.
        hidden_dim: Width of the class embedding.
        noise: Standard deviation of the noise that training adds to each number of the direction;
            the root mean square of these numbers is 1.
    """

    def __init__(self, seen_mean: Tensor, hidden_dim: int, noise: float) -> None:
        super().__init__()
        self._noise = noise
        self.register_buffer("seen_mean", seen_mean)
        self.seen_mean: Tensor
        self.projection = nn.Linear(seen_mean.numel(), hidden_dim)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Embed descriptions one by one; see :meth:`SemanticEncoder.forward`.

        Args:
            states: Token states, ``[k, T, E]``, or ``[k, P, T, E]`` for P paragraphs.
            mask: True where there is a token, bool, without the last dimension of ``states``.

        Returns:
            ``[k, hidden_dim]``.
        """
        away = mean_state(states, mask) - self.seen_mean
        direction = (normalize(away, dim=-1) * states.shape[-1] ** 0.5).flatten(1)
        if self.training:
            direction = direction + self._noise * torch.randn_like(direction)
        embedding: Tensor = self.projection(direction)
        return embedding


def mean_state(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over tokens, ``[..., T, E]`` to ``[..., E]``; ``mask`` is ``[..., T]``."""
    counted = mask.unsqueeze(-1).to(states.dtype)
    return (states * counted).sum(-2) / counted.sum(-2)


class ParameterAdapter(nn.Module):
    """PAM: from class embeddings to a delta for every filter and a row of the classifier.

    The encoder sees the classes as a set (no positions), so reordering them reorders the
    classifier's rows and nothing else. The decoder is not autoregressive (appendix A.3): it has one
    learnt query per filter, the sum of an embedding of its tensor and one of its index; filters
    attend to the filters of their tensor and to the classes. The paper suggests decoders as wide as
    the filters, which have 1.47 G parameters for ResNet-18; here all tensors share one decoder, and
    a linear head for each filter size maps its output to that size.

    Args:
        tensors: The tensors to adapt; with none of them, only a classifier is generated.
        feature_dim: F, width of a classifier row.
        hidden_dim: Width of embeddings, encoder and decoder.
        encoder_layers: Layers over the classes.
        decoder_layers: Layers over the filters.
        heads: Attention heads of each layer.
        dropout: Dropout of the layers.
        mu: Initial scale of the deltas (Eq. 4), trained for each tensor; a scale of 0 stays 0.
        checkpointing: Whether the backward pass computes the decoder's activations again, for one
            group of tensors after the other, instead of keeping them all.
    """

    def __init__(
        self,
        tensors: Sequence[AdaptedTensor],
        feature_dim: int,
        hidden_dim: int,
        encoder_layers: int,
        decoder_layers: int,
        heads: int,
        dropout: float,
        mu: float,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self._tensors = tuple(tensors)
        self._checkpointing = checkpointing
        self.encoder = nn.ModuleList(
            _encoder_layer(hidden_dim, heads, dropout) for _ in range(encoder_layers)
        )
        self.encoder_norm = nn.LayerNorm(hidden_dim)
        self.classifier_head = nn.Linear(hidden_dim, feature_dim)
        if not tensors:
            return
        self.tensor_embedding = nn.Parameter(
            torch.randn(len(tensors), 1, hidden_dim) * hidden_dim**-0.5
        )
        self.filter_embedding = nn.Parameter(
            torch.randn(max(t.filters for t in tensors), hidden_dim) * hidden_dim**-0.5
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(
                hidden_dim, heads, 4 * hidden_dim, dropout, batch_first=True, norm_first=True
            )
            for _ in range(decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.heads = nn.ModuleDict(
            {str(size): nn.Linear(hidden_dim, size) for size in sorted({t.size for t in tensors})}
        )
        self.mu = nn.Parameter(torch.full((len(tensors),), mu), requires_grad=mu != 0)
        # tensors with equally many filters go through the decoder together
        self._groups = [
            [i for i, t in enumerate(tensors) if t.filters == filters]
            for filters in sorted({t.filters for t in tensors})
        ]

    def forward(self, embeddings: Tensor) -> Adaptation:
        """Generate for a set of classes.

        Args:
            embeddings: ``[k, hidden_dim]``, as :class:`SemanticEncoder` gives them.
        """
        classes = embeddings.unsqueeze(0)
        for layer in self.encoder:
            classes = layer(classes)
        classes = self.encoder_norm(classes)
        deltas: dict[int, Tensor] = {}
        for group in self._groups if self._tensors else ():
            if self._checkpointing and torch.is_grad_enabled():
                generated = checkpoint(self._decode, group, classes, use_reentrant=False)
            else:
                generated = self._decode(group, classes)
            deltas |= dict(zip(group, generated, strict=True))
        named = {
            self._tensors[i].name: self.mu[i] * deltas[i].view(self._tensors[i].shape)
            for i in sorted(deltas)
        }
        return Adaptation(named, self.classifier_head(classes.squeeze(0)))

    def _decode(self, group: list[int], classes: Tensor) -> list[Tensor]:
        """``DeltaW`` of tensors with equally many filters K, ``[K, size]`` each."""
        filters = self._tensors[group[0]].filters
        hidden = self.tensor_embedding[group] + self.filter_embedding[:filters]
        memory = classes.expand(len(group), -1, -1)
        for layer in self.decoder:
            hidden = layer(hidden, memory)
        hidden = self.decoder_norm(hidden)
        return [
            self.heads[str(self._tensors[i].size)](rows)
            for i, rows in zip(group, hidden, strict=True)
        ]


def _encoder_layer(hidden_dim: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        hidden_dim, heads, 4 * hidden_dim, dropout, batch_first=True, norm_first=True
    )
