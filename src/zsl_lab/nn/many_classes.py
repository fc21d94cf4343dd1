"""Terms over very many classes, computed part by part so that memory stays bounded.

Up to :data:`FEW_CLASSES` classes methods compute such a term at once; with more, by
:func:`logsumexp_over_classes`, which gives the same values and gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

#: most classes for which a term is computed at once
FEW_CLASSES = 2000
#: classes of a part
_PART = 1000


def logsumexp_over_classes(scores: Callable[[Tensor], Tensor], classes: Tensor) -> Tensor:
    """``log sum_c exp(score of c)``, with the scores of one part in memory at a time.

    In the backward pass the scores are computed again (Chen et al., "Training deep nets with
    sublinear memory cost", 2016), so that ``scores`` must not draw random numbers.

    Args:
        scores: Returns the scores ``[B, K]`` of the K given classes.
        classes: Classes, int64 ``[C]``.

    Returns:
        ``[B]``.
    """

    def of_part(part: Tensor) -> Tensor:
        return scores(part).logsumexp(1)

    parts = [
        checkpoint(of_part, part, use_reentrant=False, preserve_rng_state=False)
        # of nearly equal sizes: a part with no class but a left-out one would have no gradient
        for part in classes.tensor_split(-(-len(classes) // _PART))
    ]
    return torch.stack(parts, dim=1).logsumexp(1)


def some_of(rows: Tensor, most: int = FEW_CLASSES) -> Tensor:
    """The rows, in order; if there are more than ``most``, a random sample with a fixed seed."""
    if len(rows) <= most:
        return rows
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:most]
    return rows[drawn.sort().values.to(rows.device)]
