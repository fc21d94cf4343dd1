"""Testing a checkpoint: metrics on the test samples, predictions, figures and ``result.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zsl_lab.data.batches.base import PhaseDataModule
from zsl_lab.data.benchmark import Benchmark, IntArray
from zsl_lab.data.splits import test_split
from zsl_lab.errors import CheckpointError
from zsl_lab.hardware import distributed
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.complexity import complexity
from zsl_lab.plots.style import figure_style
from zsl_lab.result import Result, git_commit, versions
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.checkpoints.files import Checkpoint
from zsl_lab.run.context import RunContext, make_trainer, set_classifier
from zsl_lab.run.records import predictions_csv, run_figures, tradeoff_csv
from zsl_lab.run.records.predictions_csv import Predicted


@dataclass(frozen=True)
class TrainingRecord:
    """The part of ``result.json`` on the training of the tested checkpoint.

    Attributes:
        training: Steps, seconds and hardware.
        oracle: Metrics of the best check on test, and ``step``; None if there was no such check.
        oracle_by_metric: The same for the best check by each of
            :data:`zsl_lab.result.ORACLE_METRICS`.
    """

    training: dict[str, Any]
    oracle: dict[str, Any] | None = None
    oracle_by_metric: dict[str, dict[str, Any]] | None = None


def test(context: RunContext, path: Path, record: TrainingRecord) -> Result:
    """Evaluate a checkpoint on the test samples and write the results to the run's folder.

    A metric without test samples is NaN.

    Args:
        context: The run.
        path: The checkpoint of the weights that the run reports.
        record: How they were trained.

    Raises:
        CheckpointError: The weights do not fit the method on this dataset.
    """
    checkpoint = checkpoints.read(path, "ckpt")
    data = context.data_module(test_split(context.benchmark))
    method = _load_method(context, checkpoint, data)
    if len(data.evaluation_index):
        make_trainer(context).test(method, datamodule=data, verbose=False)
    else:
        # Lightning calls no hook without a batch; an empty one makes every metric NaN
        scores, labels = torch.zeros(0, len(data.classes.ids)), torch.zeros(0, dtype=torch.int64)
        for metric in (method.metrics, method.extra_accuracies):
            metric.update(scores, labels)
    method.eval()  # Lightning restores the mode from before the test, with dropout on
    result = _result(context, checkpoint, record, method, data)
    tradeoff = method.metrics.tradeoff(method.calibration or 0.0)
    predicted = _in_order(method.test_predictions(), data.evaluation_index)
    if not distributed.is_main():
        return result
    predictions_csv.write(context.folder, data, predicted)
    tradeoff_csv.write(context.folder, tradeoff)
    result.save(context.folder)
    selected = {"refit": checkpoint.step}
    if checkpoint.state.selected_check is not None:
        selected["select"] = checkpoint.state.selected_check
    if context.config.figures:
        with figure_style(context.config.plots.style):
            run_figures.draw_figures(context.folder, data, method, result, predicted, selected)
    return result


def _load_method(
    context: RunContext, checkpoint: Checkpoint, data: PhaseDataModule
) -> ZeroShotMethod:
    config = context.config
    method = config.method_class.build(
        config.method, data, cache_dir=config.paths.cache_folder, weights_follow=True
    )
    try:
        method.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"ckpt={checkpoint.path}: its weights do not fit method={config.method.name} on this "
            f"dataset ({checkpoints.misfit(error)})."
        ) from error
    method.calibration = checkpoint.state.calibration
    classifier = set_classifier(method, config, data.classes)
    classifier.load_state(checkpoint.classifier, f"ckpt={checkpoint.path}")
    return method


def _result(
    context: RunContext,
    checkpoint: Checkpoint,
    record: TrainingRecord,
    method: ZeroShotMethod,
    data: PhaseDataModule,
) -> Result:
    config, selection, settings = context.config, context.config.selection, context.config.settings
    calibrated = selection.calibrate and selection.name == "validation"
    one_sample = data.samples(data.split.train[:1], method.device).inputs
    return Result(
        method=config.method.name,
        dataset=context.benchmark.name,
        seed=config.seed,
        selection=selection.name,
        metrics=method.test_metrics(),
        oracle=record.oracle,
        oracle_by_metric=record.oracle_by_metric,
        per_class=_recalls(method, data),
        training=record.training,
        benchmark=_facts(context.benchmark),
        checkpoint=str(checkpoint.path),
        versions=versions(),
        git_commit=git_commit(),
        model=complexity(method, one_sample),
        calibration=method.calibration if calibrated else None,
        extra=method.test_extra_metrics(),
        validation=checkpoint.state.validation,
        findings=[finding.plain() for finding in context.findings],
        metric=selection.metric,
        tuned=None if settings.choice == "published" else settings.name,
        settings={"choice": settings.choice, "name": settings.name} if settings.choice else None,
        classifier=config.classifier.name,
    )


def _recalls(method: ZeroShotMethod, data: PhaseDataModule) -> dict[str, dict[str, float]]:
    """Recall of each class in percent, by name, unseen and seen classes apart."""
    recalls = method.metrics.recalls().cpu().numpy()
    seen = data.classes.seen_mask
    names = np.array(data.classes.names, dtype=object)
    return {
        group: {
            str(name): float(recall)
            for name, recall in zip(names[members], recalls[members], strict=True)
        }
        for group, members in (("unseen", ~seen), ("seen", seen))
    }


def _facts(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "classes": benchmark.num_classes,
        "seen": len(benchmark.seen_classes),
        "unseen": len(benchmark.unseen_classes),
        "untested": len(benchmark.untested_classes),
        "samples": benchmark.num_samples,
        "splits_sha256": benchmark.provenance.splits_sha256,
        "features_sha256": benchmark.provenance.features_sha256,
        "splits_version": benchmark.provenance.splits_version,
    }


def _in_order(predicted: Predicted, index: IntArray) -> Predicted:
    """Predictions in the order of the samples ``index``, whichever process made them."""
    sorter = np.argsort(index)
    place = sorter[np.searchsorted(index, predicted[0].numpy(), sorter=sorter)]
    order = torch.from_numpy(np.argsort(place))
    return predicted[0][order], predicted[1][order], predicted[2][order]
