"""``task=predict``: classify samples by a checkpoint, from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich import box
from rich.table import Table

from zsl_lab.console.messages import console
from zsl_lab.console.progress import Progress, Unit
from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.data.files.descriptions import read_descriptions, read_text_lists
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.files.escaping import one_line
from zsl_lab.predict.classes import Candidates
from zsl_lab.predict.feature_files import EXAMPLES, open_features
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.image_sources import ImageSource, find_images
from zsl_lab.predict.images import ImagePredictor
from zsl_lab.predict.load import restore
from zsl_lab.predict.predictions import PREDICTIONS_FILE, Prediction, Predictions
from zsl_lab.predict.predictor import Predictor
from zsl_lab.result import RESULT_FILE
from zsl_lab.run.config import RunConfig, parse

#: columns of the table of predictions beside the classes
_RESERVED = ("file", "sample", "predicted", "score", "probability")
#: how many classes are printed
_SHOWN_CLASSES = 20


def predict(cfg: DictConfig) -> Prediction:
    """Classify samples among the classes of a checkpoint, or among new classes.

    Writes ``predictions.csv`` (file or sample, predicted class, its score, then the score of each
    class), ``predictions.json`` (the classes, and the best five of each sample) and, if the method
    generates a network for the classes, ``network.pth``. Either all files are written or none.

    Args:
        cfg: The configuration that the checkpoint was trained with, ``ckpt`` and the keys of
            task=predict; ``paths.run_dir`` is the folder that is written to.

    Raises:
        ZslLabError: A key, a file or the checkpoint is wrong; the message says how to correct it.
    """
    config = parse(cfg)
    _check_keys(config)
    images = find_images(config.images) if config.images else None
    predictor = restore(config)
    given = _new_classes(config, predictor)
    candidates = predictor.candidates_among(given, config.among)
    scored = (
        _score_features(config, predictor, candidates)
        if images is None
        else _score_images(config, predictor, images, candidates)
    )
    prediction = Prediction(
        scored.predictions,
        scored.names,
        predictor.method,
        predictor.dataset,
        predictor.checkpoint,
        predictor.score,
        Path(config.paths.run_dir),
        predictor.network.export(),
        of_images=images is not None,
        scores=config.scores,
        unreadable=scored.unreadable,
    )
    prediction.write()
    return prediction


@dataclass(frozen=True)
class _Scored:
    """Predictions, the samples' names, and the images that are left out, with why."""

    predictions: Predictions
    names: tuple[str, ...] | None
    unreadable: tuple[tuple[str, str], ...] = ()


def _score_images(
    config: RunConfig, predictor: Predictor, images: ImageSource, candidates: Candidates
) -> _Scored:
    """Score the images that can be read."""
    files, folder = images.files, Path(config.paths.run_dir)
    with Progress(Unit("images"), len(files)) as shown:
        if isinstance(predictor, ImagePredictor):
            predictions, problems = predictor.score_readable(
                files, candidates, folder, shown.update
            )
        else:
            assert isinstance(predictor, FeaturePredictor)
            predictions, problems = predictor.score_images(
                files, candidates, images.origin, config.weights, folder, shown.update
            )
    bad = {problem.file for problem in problems}
    return _Scored(
        predictions,
        tuple(images.name(file) for file in images.files if file not in bad),
        tuple((images.name(problem.file), problem.reason) for problem in problems),
    )


def _score_features(config: RunConfig, predictor: Predictor, candidates: Candidates) -> _Scored:
    assert isinstance(predictor, FeaturePredictor)
    assert config.features is not None
    origin = f"features={config.features}"
    folder = Path(config.paths.run_dir)
    with open_features(config.features, predictor.feature_dim, folder) as found:
        if found.recipe is not None:
            predictor.compare_recipe(found.recipe, origin)
        rows = predictor.check_samples(found.rows, origin)
        with Progress(Unit("samples"), len(rows)) as shown:
            shown.start()
            predictions = predictor.score_samples(rows, candidates, origin, folder, shown.update)
        return _Scored(predictions, found.names)


def print_prediction(prediction: Prediction) -> None:
    """Print how many samples were assigned to each class, and the files written."""
    predicted, noun = prediction.predictions.predicted, prediction.noun
    classes = len(set(predicted))
    out = console()
    out.print()
    out.print(
        f"{len(predicted)} {noun}{'s' if len(predicted) > 1 else ''}, {classes} of "
        f"{len(prediction.predictions.names)} classes predicted",
        style="bold",
    )
    out.print()
    out.print(_counts(prediction))
    if classes > _SHOWN_CLASSES:
        out.print(f"and {classes - _SHOWN_CLASSES} more classes", style="dim")
    out.print()
    out.print(f"predictions: {prediction.table}", soft_wrap=True)
    what = "best five:" if prediction.written_scores in ("all", "best") else "classes:"
    out.print(f"{what:12} {prediction.summary}", soft_wrap=True)
    if prediction.archive:
        out.print(f"all scores:  {prediction.archive}", soft_wrap=True)
    if prediction.network:
        out.print(
            f"network:     {prediction.network} (state dict of {prediction.base})", soft_wrap=True
        )


def _counts(prediction: Prediction) -> Table:
    """The classes with most samples, a row each."""
    predictions = prediction.predictions
    probabilities = prediction.score == "probability"
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("predicted")
    table.add_column("class")
    table.add_column(f"{prediction.noun}s", justify="right")
    if probabilities:  # other scores have no common scale
        table.add_column("mean probability", justify="right")
    kinds = dict(zip(predictions.names, predictions.kinds, strict=True))
    scores: dict[str, list[float]] = {}
    for name, score in zip(predictions.predicted, predictions.best.tolist(), strict=True):
        scores.setdefault(name, []).append(score)
    most = sorted(scores.items(), key=lambda item: -len(item[1]))
    for name, of_class in most[:_SHOWN_CLASSES]:
        mean = [f"{sum(of_class) / len(of_class):.2f}"] if probabilities else []
        table.add_row(one_line(name), kinds[name], str(len(of_class)), *mean)
    return table


# ------------------------------------------------------------------------------------------------
# keys and files


def _check_keys(config: RunConfig) -> None:
    """Raise ConfigError if keys are missing, exclude each other or do not fit the method."""
    of_images, method = config.method_class.takes == "images", f"method={config.method.name}"
    problems = []
    if config.ckpt is None:
        problems.append(
            "task=predict needs a trained method: ckpt=RUN, a run's folder, or "
            "ckpt=RUN/checkpoints/best.ckpt."
        )
    if config.features is None and config.images is None:
        either = "" if config.ckpt and of_images else f"{EXAMPLES}, or "
        problems.append(f"task=predict needs samples: {either}images=DIR, a folder of images.")
    if config.features is not None and config.images is not None:
        problems.append(
            f"features={config.features}, images={config.images}: found both; expected one of "
            "them. Leave one out."
        )
    elif config.ckpt and config.features is not None and of_images:
        problems.append(
            f"features={config.features}: {method} takes images. Give images=DIR, or a checkpoint "
            "of a method that takes features."
        )
    if config.weights is not None and (config.images is None or (config.ckpt and of_images)):
        problems.append(
            f"weights={config.weights}: the weights are those of the network that features are "
            "extracted from images with. Leave weights out, or give images=DIR and a checkpoint "
            "of a method that takes features."
        )
    if config.classes is not None and config.descriptions is not None:
        problems.append(
            f"classes={config.classes}, descriptions={config.descriptions}: found both; expected "
            "one of them. Leave one out."
        )
    folder = Path(config.paths.run_dir)
    if (folder / RESULT_FILE).exists() or (folder / "checkpoints").exists():
        problems.append(
            f"hydra.run.dir={folder}: this folder holds a run. Predictions need a folder of their "
            "own. Give another."
        )
    if problems:
        raise ConfigError("\n".join(problems))


def _new_classes(config: RunConfig, predictor: Predictor) -> ClassSpace | None:
    """The classes of ``classes`` or ``descriptions``; None where neither is given."""
    if config.descriptions is not None:
        origin, given = (
            f"descriptions={config.descriptions}",
            _classes_from_descriptions(config.descriptions, predictor),
        )
    elif config.classes is not None:
        origin, given = f"classes={config.classes}", predictor.new_classes(config.classes)
    else:
        return None
    reserved = [name for name in given.names if name in _RESERVED]
    if reserved:
        raise DataError(
            f"{origin}: field 'name': found '{reserved[0]}', which is a column of "
            f"{PREDICTIONS_FILE}; expected another name. Rename the class, or leave it out."
        )
    return given


def _classes_from_descriptions(path: Path, predictor: Predictor) -> ClassSpace:
    """New classes from a file of texts; a class may have several (see ``description_format``)."""
    origin = f"descriptions={path}"
    try:
        if isinstance(predictor, ImagePredictor):
            names, texts = read_descriptions(path, predictor.description_format)
            return predictor.classes_from_formatted_texts(names, texts)
        names, texts = read_descriptions(path, "{description}", named=True)
        lists = read_text_lists(path)
    except DataError as error:
        raise DataError(
            f"descriptions={error} Correct the file, or give another: descriptions=FILE."
        ) from error
    return predictor.classes_from_texts(names, texts, origin, lists)
