"""Accuracies of zero-shot learning as torchmetrics classes; they know neither methods nor files."""

from zsl_lab.metrics.ausuc import AUSUC
from zsl_lab.metrics.evaluation import METRIC_NAMES, ZeroShotMetrics, predict
from zsl_lab.metrics.extra import ExtraAccuracies
from zsl_lab.metrics.generalized import HarmonicMean, harmonic_mean
from zsl_lab.metrics.per_class import PerClassAccuracy

__all__ = [
    "AUSUC",
    "METRIC_NAMES",
    "ExtraAccuracies",
    "HarmonicMean",
    "PerClassAccuracy",
    "ZeroShotMetrics",
    "harmonic_mean",
    "predict",
]
