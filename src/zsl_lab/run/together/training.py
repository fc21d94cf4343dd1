"""Updates of several runs computed together: their networks stacked, one batched computation.

Each network keeps its own parameters, which become views of the stacked ones, so that evaluation
and checkpoints need not know of the others.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from zsl_lab.methods.joint import Losses, Update
from zsl_lab.run.together.graphs import Repeated
from zsl_lab.run.together.layers import MOMENTUM, replace_layers


class _Layout:
    """The places of named tensors in a row of numbers.

    Args:
        tensors: The tensors by name; of one dtype and on one device.
    """

    def __init__(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        self.shapes = {name: tensor.shape for name, tensor in tensors}
        self._sizes = [shape.numel() for shape in self.shapes.values()]
        self.width = sum(self._sizes)

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """The tensors within rows ``[..., width]``, each ``[..., *shape]``."""
        parts = torch.split(rows, self._sizes, dim=-1)
        return {
            name: part.view(*rows.shape[:-1], *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


@dataclass(frozen=True)
class _Arguments:
    """The arguments of a joint update of k runs, in memory that each such update uses anew.

    Attributes:
        rows: The places of the runs among the stacked ones, ``[k]``; None for all of them.
        values: Of each run the scalars of its loss, then its Adam's step size and correction of the
            second moment, ``[k, S + 2]``.
        masks: The stacked masks.
        inputs: The stacked inputs.
    """

    rows: Tensor | None
    values: Tensor
    masks: list[Tensor]
    inputs: list[Tensor]


@dataclass(frozen=True)
class _Prepared:
    """A joint update of so many runs, with inputs of certain shapes."""

    arguments: _Arguments
    losses: Repeated
    names: list[str]


class JointTraining:
    """The stacked networks and optimiser states of runs that are trained together.

    Args:
        first: An update of one of the runs; all have equal :attr:`Update.layers`.
        runs: How many runs there are.
    """

    def __init__(self, first: Update, runs: int) -> None:
        self._runs = runs
        network = first.networks
        self._parameters = _Layout(network.named_parameters())
        floats = ((n, b) for n, b in network.named_buffers() if b.is_floating_point())
        self._buffers = _Layout(floats)
        example = next(network.parameters()).detach()
        # the last row takes the place of runs that are missing where the number of rows is fixed
        self._weights = example.new_zeros(runs + 1, self._parameters.width)
        self._momentum = torch.zeros_like(self._weights)
        self._square = torch.zeros_like(self._weights)
        self._statistics = example.new_zeros(runs + 1, self._buffers.width)
        self._steps = torch.zeros(runs)
        self._masks: list[Tensor] = []
        self._recorded: dict[str, tuple[Tensor, Tensor]] = {}
        self._objectives: dict[Hashable, nn.Module] = {}
        self._prepared: dict[Hashable, _Prepared] = {}
        #: network and optimiser state of each run that are views of the stacked ones, and the
        #: batches that its normalisation layers have counted
        self._adopted: dict[int, tuple[nn.Module, object, list[Tensor]]] = {}

    # ---------------------------------------------------------------- the networks of the runs

    def _adopt(self, run: int, update: Update) -> list[Tensor]:
        """Make a run's parameters and its optimiser's state views of the stacked ones."""
        network, state = update.networks, update.optimizer.state
        adopted = self._adopted.get(run)
        if adopted is not None and adopted[0] is network and adopted[1] is state:
            return adopted[2]
        self._steps[run] = next((float(s["step"]) for s in state.values() if "step" in s), 0.0)
        weights = self._parameters.views(self._weights[run])
        moments = {
            "exp_avg": self._parameters.views(self._momentum[run]),
            "exp_avg_sq": self._parameters.views(self._square[run]),
        }
        for name, parameter in network.named_parameters():
            parameter.data = _moved(parameter.data, weights[name])
            own = state[parameter]
            for key, stacked in moments.items():
                own[key] = _moved(own.get(key), stacked[name])
            own["step"] = self._steps[run]
        counted = []
        statistics = self._buffers.views(self._statistics[run])
        for name, buffer in network.named_buffers():
            if name not in statistics:
                counted.append(buffer)
                continue
            owner, _, leaf = name.rpartition(".")
            layer = network.get_submodule(owner)
            layer._buffers[leaf] = _moved(buffer, statistics[name])
        self._adopted[run] = (network, state, counted)
        return counted

    # ---------------------------------------------------------------- the joint update

    def __call__(self, updates: Mapping[int, Update]) -> dict[int, Losses]:
        """Compute the updates of some runs.

        Args:
            updates: By the number of the run, in increasing order; all have the same
                :attr:`Update.key`.

        Returns:
            The losses of each run.
        """
        given = list(updates.values())
        counted = [batches for r, u in updates.items() for batches in self._adopt(r, u)]
        if counted:
            torch._foreach_add_(counted, 1)
        prepared = self._prepare(given)
        self._fill(prepared.arguments, updates)
        # a copy: the next update overwrites them
        losses = prepared.losses().detach().clone()
        return {
            run: dict(zip(prepared.names, of_run.unbind(), strict=True))
            for run, of_run in zip(updates, losses.unbind(1), strict=False)
        }

    def _prepare(self, given: Sequence[Update]) -> _Prepared:
        first, whole = given[0], len(given) == self._runs
        count = self._padded(len(given))
        key = (first.key, count, whole)
        if key in self._prepared:
            return self._prepared[key]
        if first.form not in self._objectives:
            self._objectives[first.form] = self._without_effects(first.objective())
        place = first.inputs[0].device
        arguments = _Arguments(
            rows=None if whole else torch.full((count,), self._runs, device=place),
            values=self._weights.new_zeros(count, len(first.scalars) + 2),
            masks=[mask.new_zeros(count, *mask.shape) for mask in first.masks],
            inputs=[part.new_zeros(count, *part.shape) for part in first.inputs],
        )
        objective, scalars, names = self._objectives[first.form], list(first.scalars), list[str]()
        betas, eps = (first.optimizer.param_groups[0][name] for name in ("betas", "eps"))

        def compute() -> Tensor:
            losses = self._compute(objective, scalars, betas, eps, arguments)
            names[:] = list(losses)
            return torch.stack(list(losses.values()))

        self._prepared[key] = _Prepared(arguments, Repeated(compute, place), names)
        return self._prepared[key]

    def _without_effects(self, objective: nn.Module) -> nn.Module:
        """A copy whose layers draw and change nothing; it has the same tensors, which are many."""
        tensors = [*objective.parameters(), *objective.buffers()]
        copied = copy.deepcopy(objective, {id(tensor): tensor for tensor in tensors})
        replace_layers(copied.get_submodule("networks"), self._masks, self._recorded)
        return copied

    def _padded(self, count: int) -> int:
        """A number of runs of which few values occur: on a GPU each is captured by itself."""
        if self._weights.device.type != "cuda":
            return count
        return min(self._runs, 1 << (count - 1).bit_length())

    def _fill(self, arguments: _Arguments, updates: Mapping[int, Update]) -> None:
        given = list(updates.values())
        count, runs = len(given), torch.tensor(list(updates))
        if arguments.rows is not None:
            arguments.rows[:count] = runs.to(arguments.rows.device)
            arguments.rows[count:] = self._runs
        for places, parts in (
            (arguments.masks, zip(*(u.masks for u in given), strict=True)),
            (arguments.inputs, zip(*(u.inputs for u in given), strict=True)),
        ):
            for place, of_runs in zip(places, parts, strict=True):
                torch.stack(of_runs, out=place[:count])
        self._steps[runs] += 1
        steps = self._steps[runs].double()
        options = given[0].optimizer.param_groups[0]
        beta1, beta2 = options["betas"]
        rates = [u.optimizer.param_groups[0]["lr"] for u in given]
        values = [
            torch.tensor([list(u.scalars.values()) for u in given], dtype=torch.double),
            (torch.tensor(rates, dtype=torch.double) / (1 - beta1**steps))[:, None],
            (1 - beta2**steps).sqrt()[:, None],
        ]
        arguments.values[:count] = torch.cat(values, 1).to(arguments.values.dtype)

    def _compute(
        self,
        objective: nn.Module,
        scalars: Sequence[str],
        betas: tuple[float, float],
        eps: float,
        arguments: _Arguments,
    ) -> dict[str, Tensor]:
        """Update the stacked networks; returns the losses of the runs, each ``[k]``."""
        rows = arguments.rows

        def chosen(stacked: Tensor) -> Tensor:
            return stacked[: self._runs] if rows is None else stacked.index_select(0, rows)

        values, (step_size, correction) = (
            arguments.values[:, :-2],
            arguments.values[:, -2:, None].unbind(1),
        )
        weights = chosen(self._weights).detach().requires_grad_()
        statistics = chosen(self._statistics)

        def of_one(
            named: dict[str, Tensor], values: Tensor, masks: list[Tensor], inputs: list[Tensor]
        ) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
            self._masks[:] = masks
            named = {f"networks.{name}": tensor for name, tensor in named.items()}
            by_name = dict(zip(scalars, values.unbind(), strict=True))
            losses = functional_call(objective, named, tuple(inputs), by_name)
            recorded = dict(self._recorded)
            self._recorded.clear()
            return losses, recorded

        named = {**self._parameters.views(weights), **self._buffers.views(statistics)}
        losses, recorded = vmap(of_one, randomness="error")(
            named, values, arguments.masks, arguments.inputs
        )
        (gradient,) = torch.autograd.grad(losses["total"].sum(), weights)
        with torch.no_grad():
            # Adam (Kingma & Ba, 2015), with a learning rate and a number of steps for each run
            momentum, square = chosen(self._momentum), chosen(self._square)
            momentum.lerp_(gradient, 1 - betas[0])
            square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
            change = (square.sqrt() / correction).add_(eps).reciprocal_()
            weights = weights.detach().addcmul_(change.mul_(step_size), momentum, value=-1)
            if recorded:
                new = [
                    recorded[name.rpartition(".")[0]][name.endswith("running_var")]
                    for name in self._buffers.shapes
                ]
                statistics.lerp_(torch.cat(new, 1), MOMENTUM)
            if rows is not None:
                self._weights.index_copy_(0, rows, weights)
                self._momentum.index_copy_(0, rows, momentum)
                self._square.index_copy_(0, rows, square)
                self._statistics.index_copy_(0, rows, statistics)
        return losses


def _moved(value: Tensor | None, place: Tensor) -> Tensor:
    """Copy a value, or zeros for None, into a tensor unless it is there already; returns it."""
    if value is None:
        return place.zero_()
    return place if value.data_ptr() == place.data_ptr() else place.copy_(value)
