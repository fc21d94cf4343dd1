"""How large the tensors are that a computation makes."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class AtMost(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse tensors of more than so many numbers."""

    def __init__(self, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = most

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for part in found if isinstance(found, list | tuple) else (found,):
            assert not isinstance(part, Tensor) or part.numel() <= self.most, f"{func}"
        return found
