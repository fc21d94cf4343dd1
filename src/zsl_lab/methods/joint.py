"""Updates of several runs computed together: their networks stacked, one batched computation.

The runs have networks of the same shapes and may differ in weights, batches, learning rates and the
scalars of the loss. Each network keeps its own parameters, which become views of the stacked ones,
so that evaluation and checkpoints need not know of the others. All random numbers are drawn by each
run before the joint computation, in the order in which its own update would draw them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import dropout


@dataclass(frozen=True)
class Update:
    """An update that one run requests.

    Attributes:
        networks: The networks to update; only dropout and batch normalisation may differ between
            training and evaluation.
        optimizer: The run's Adam, over all parameters of ``networks`` and no others.
        objective: Makes a module of which ``networks`` is the submodule ``networks``. Called with
            ``inputs`` and ``scalars`` it returns named scalar losses, of which ``total`` is
            minimised. It draws no random numbers but those of dropout.
        inputs: Tensors of the run's batch.
        scalars: Weights and thresholds of the loss, which may differ between runs.
        masks: The factors of each dropout layer, in the order in which the objective calls them.
        kind: Equal where the networks have the same layers and objectives the same form.
    """

    networks: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Callable[[], nn.Module]
    inputs: tuple[Tensor, ...]
    scalars: Mapping[str, float]
    masks: tuple[Tensor, ...]
    kind: Hashable

    @property
    def key(self) -> Hashable:
        """Equal for updates that can be computed together."""
        return (self.kind, *self.scalars, *(part.shape for part in self.inputs))


class JointUpdates(Protocol):
    """Computes an update together with those of other runs."""

    def __call__(self, update: Update) -> Mapping[str, Tensor]:
        """Update the networks and return the run's named losses, detached."""


def dropout_masks(network: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """The factors that the dropout layers of a network in training mode would draw next.

    Args:
        network: Each dropout layer follows a linear layer, whose width it has.
        inputs: A batch; the factors have as many rows, its dtype and its device.
    """
    masks = []
    width = 0
    for layer in network:
        if isinstance(layer, nn.Linear):
            width = layer.out_features
        elif isinstance(layer, nn.Dropout) and layer.p > 0:
            masks.append(dropout(inputs.new_ones(len(inputs), width), layer.p, training=True))
    return masks


class _GivenMask(nn.Module):
    """Dropout whose factors were drawn before."""

    def __init__(self, masks: list[Tensor]) -> None:
        super().__init__()
        self._masks = masks

    def forward(self, x: Tensor) -> Tensor:
        return x * self._masks.pop(0)


class _RecordedBatchNorm(nn.Module):
    """Batch normalisation in training mode that records its statistics instead of averaging them.

    Args:
        norm: The layer that it replaces.
        name: Its name in the networks.
        recorded: Receives the mean and the unbiased variance, each ``[width]``.
    """

    def __init__(
        self, norm: nn.BatchNorm1d, name: str, recorded: dict[str, tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self._eps, self._name, self._recorded = norm.eps, name, recorded

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, 0, correction=0)
        unbiased = variance.detach() * (len(x) / (len(x) - 1))
        self._recorded[self._name] = (mean.detach(), unbiased)
        return (x - mean) * torch.rsqrt(variance + self._eps) * self.weight + self.bias


def _moved(value: Tensor | None, place: Tensor) -> Tensor:
    """Copy a value, or zeros for None, into a tensor unless it is there already; returns it."""
    if value is None:
        return place.zero_()
    return place if value.data_ptr() == place.data_ptr() else place.copy_(value)


class JointTraining:
    """The stacked networks and optimiser states of runs that are trained together.

    Args:
        first: An update of one of the runs.
        runs: How many runs there are.
    """

    def __init__(self, first: Update, runs: int) -> None:
        self._masks: list[Tensor] = []
        self._recorded: dict[str, tuple[Tensor, Tensor]] = {}
        self._objective = copy.deepcopy(first.objective())
        self._replace(self._objective.get_submodule("networks"), "")

        def stacked(tensor: Tensor) -> Tensor:
            return tensor.new_zeros((runs, *tensor.shape))

        network = first.networks
        self._weights = {name: stacked(p.detach()) for name, p in network.named_parameters()}
        self._buffers = {name: stacked(b) for name, b in network.named_buffers()}
        self._momentum = {name: torch.zeros_like(w) for name, w in self._weights.items()}
        self._square = {name: torch.zeros_like(w) for name, w in self._weights.items()}
        self._steps = torch.zeros(runs)
        #: network and optimiser state of each run that are views of the stacked ones
        self._adopted: dict[int, tuple[nn.Module, object]] = {}

    def _replace(self, network: nn.Module, prefix: str) -> None:
        for name, layer in network.named_children():
            if isinstance(layer, nn.Dropout):
                setattr(network, name, _GivenMask(self._masks) if layer.p > 0 else nn.Identity())
            elif isinstance(layer, nn.BatchNorm1d):
                place = f"{prefix}{name}"
                setattr(network, name, _RecordedBatchNorm(layer, place, self._recorded))
            else:
                self._replace(layer, f"{prefix}{name}.")

    # ---------------------------------------------------------------- the networks of the runs

    def _adopt(self, run: int, update: Update) -> None:
        """Make a run's parameters and its optimiser's state views of the stacked ones."""
        network, state = update.networks, update.optimizer.state
        adopted = self._adopted.get(run)
        if adopted is not None and adopted[0] is network and adopted[1] is state:
            return
        self._steps[run] = next((float(s["step"]) for s in state.values() if "step" in s), 0.0)
        for name, parameter in network.named_parameters():
            parameter.data = _moved(parameter.data, self._weights[name][run])
            own = state[parameter]
            for key, stacked in (("exp_avg", self._momentum), ("exp_avg_sq", self._square)):
                own[key] = _moved(own.get(key), stacked[name][run])
            own["step"] = self._steps[run]
        for name, buffer in network.named_buffers():
            owner, _, leaf = name.rpartition(".")
            layer = network.get_submodule(owner)
            layer._buffers[leaf] = _moved(buffer, self._buffers[name][run])
        self._adopted[run] = (network, state)

    # ---------------------------------------------------------------- the joint update

    def __call__(self, updates: Mapping[int, Update]) -> dict[int, dict[str, Tensor]]:
        """Compute the updates of some runs.

        Args:
            updates: By the number of the run; all have the same :attr:`Update.key`.

        Returns:
            The losses of each run.
        """
        for run, update in updates.items():
            self._adopt(run, update)
        given = list(updates.values())
        device = given[0].inputs[0].device
        rows = torch.tensor(list(updates), device=device)
        whole = len(updates) == len(self._steps)

        def chosen(stacked: Tensor) -> Tensor:
            return stacked if whole else stacked.index_select(0, rows.to(stacked.device))

        weights = {name: chosen(w).detach().requires_grad_() for name, w in self._weights.items()}
        if whole and list(updates) != list(range(len(updates))):
            given = [updates[run] for run in range(len(updates))]
        losses = self._losses(weights, given)
        gradients = torch.autograd.grad(losses["total"].sum(), list(weights.values()))
        with torch.no_grad():
            self._adam(given, rows, whole, weights, gradients)
            self._average_statistics(rows, whole)
        order = range(len(updates)) if whole else list(updates)
        found = {name: loss.detach() for name, loss in losses.items()}
        return {
            run: {name: loss[place] for name, loss in found.items()}
            for place, run in enumerate(order)
        }

    def _losses(self, weights: dict[str, Tensor], given: Sequence[Update]) -> dict[str, Tensor]:
        names = list(given[0].scalars)
        values = given[0].inputs[0].new_tensor([[u.scalars[name] for name in names] for u in given])
        inputs = [torch.stack(parts) for parts in zip(*(u.inputs for u in given), strict=True)]
        masks = [torch.stack(parts) for parts in zip(*(u.masks for u in given), strict=True)]

        def of_one(
            weights: dict[str, Tensor], values: Tensor, masks: list[Tensor], *inputs: Tensor
        ) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
            self._masks[:] = masks
            scalars = dict(zip(names, values.unbind(), strict=True))
            named = {f"networks.{name}": weight for name, weight in weights.items()}
            losses = functional_call(self._objective, named, inputs, scalars)
            return losses, dict(self._recorded)

        losses, recorded = vmap(of_one, randomness="error")(weights, values, masks, *inputs)
        self._recorded.update(recorded)
        found: dict[str, Tensor] = losses
        return found

    def _adam(
        self,
        given: Sequence[Update],
        rows: Tensor,
        whole: bool,
        weights: Mapping[str, Tensor],
        gradients: Sequence[Tensor],
    ) -> None:
        """Adam (Kingma & Ba, 2015) with a learning rate and a number of steps for each run."""
        options = given[0].optimizer.param_groups[0]
        (beta1, beta2), eps = options["betas"], options["eps"]
        of_runs = slice(None) if whole else rows.cpu()
        self._steps[of_runs] += 1
        steps = self._steps[of_runs].double()
        rates = torch.tensor([u.optimizer.param_groups[0]["lr"] for u in given], dtype=torch.double)
        step_size = (rates / (1 - beta1**steps)).to(gradients[0])
        correction = (1 - beta2**steps).sqrt().to(gradients[0])
        place = slice(None) if whole else rows
        for name, gradient in zip(weights, gradients, strict=True):
            shape = (-1, *(1,) * (gradient.ndim - 1))
            momentum, square = self._momentum[name][place], self._square[name][place]
            momentum.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            change = momentum / (square.sqrt() / correction.view(shape) + eps)
            change *= step_size.view(shape)
            if whole:
                self._weights[name] -= change
            else:
                self._momentum[name].index_copy_(0, rows, momentum)
                self._square[name].index_copy_(0, rows, square)
                self._weights[name].index_add_(0, rows, change, alpha=-1)

    def _average_statistics(self, rows: Tensor, whole: bool) -> None:
        place = slice(None) if whole else rows
        for name, (mean, variance) in self._recorded.items():
            for part, value in (("running_mean", mean), ("running_var", variance)):
                running = self._buffers[f"{name}.{part}"]
                running[place] += _MOMENTUM * (value - running[place])
            self._buffers[f"{name}.num_batches_tracked"][place] += 1
        self._recorded.clear()


#: of the running statistics of batch normalisation, PyTorch's default
_MOMENTUM = 0.1
