"""The model card, ``README.md`` of a saved model, with the metadata of the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from zsl_lab.files.escaping import markdown, one_line
from zsl_lab.sharing.saved_model import CONFIG_FILE, LIBRARY, MODEL_FILE

CARD_FILE = "README.md"
#: classes that the card lists by name
_SHOWN_CLASSES = 200
_SELECTED = {
    "validation": "The training step was selected on validation classes, which were held out from "
    "the seen classes; the method was then trained anew on all training samples.",
    "oracle": "The training step was selected **on test samples** (oracle): the metrics above are "
    "biased upwards.",
    "last": "No step was selected: the method was trained for a fixed number of steps.",
}
_TESTED_ONCE = "Test samples were used once, for the metrics above."
_METRICS = {
    "zsl_top1": "ZSL top-1 among unseen classes",
    "unseen": "GZSL: unseen classes (U)",
    "seen": "GZSL: seen classes (S)",
    "harmonic_mean": "GZSL: harmonic mean of U and S (H)",
    "ausuc": "area under the seen-unseen curve (AUSUC)",
}


def render(config: Mapping[str, Any], source: str) -> str:
    """Write the card.

    Args:
        config: The output of :func:`zsl_lab.sharing.saved_model.facts`.
        source: The argument of ``zsl_lab.load`` in the example of the card.

    Returns:
        Markdown with YAML front matter.
    """
    parts = [
        f"---\n{_front_matter(config)}---",
        f"# {markdown(_title(config))}",
        _summary(config),
        "## Use",
        _use(config, source),
        "## Metrics",
        _metrics(config),
        "## Selection",
        _selection(config),
        "## Data",
        _data(config),
        f"## Classes\n\n{_classes(config)}",
        "## Training",
        _training(config),
    ]
    return "\n\n".join(parts) + "\n"


def _title(config: Mapping[str, Any]) -> str:
    return f"{config['method']} on {one_line(config['dataset'])}"


def _front_matter(config: Mapping[str, Any]) -> str:
    result = config["result"] or {}
    measured = {k: v for k, v in (result.get("metrics") or {}).items() if v is not None}
    dataset = one_line(config["dataset"])
    matter: dict[str, Any] = {
        "library_name": LIBRARY,
        "tags": [LIBRARY, "zero-shot-learning", "generalized-zero-shot-learning", config["method"]],
    }
    if "feature_dim" not in config:
        matter["pipeline_tag"] = "zero-shot-image-classification"
    if measured:
        entry = {
            "task": {"type": "zero-shot-classification", "name": "Zero-shot learning"},
            "dataset": {"type": _identifier(dataset), "name": dataset},
            "metrics": [
                {"type": name, "name": _METRICS[name], "value": round(value, 2)}
                for name, value in measured.items()
            ],
        }
        matter["model-index"] = [{"name": _title(config), "results": [entry]}]
    return str(yaml.safe_dump(matter, sort_keys=False, allow_unicode=True))


def _identifier(name: str) -> str:
    return re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-") or "unknown"


def _counts(config: Mapping[str, Any]) -> tuple[int, int]:
    seen = sum(known["seen"] for known in config["classes"])
    return seen, len(config["classes"]) - seen


def _summary(config: Mapping[str, Any]) -> str:
    seen, unseen = _counts(config)
    inputs = (
        f"feature vectors of {config['feature_dim']} dimensions"
        if "feature_dim" in config
        else "images"
    )
    described = (
        f"a vector of {config['semantic_dim']} numbers" if "semantic_dim" in config else "a text"
    )
    scorer = "" if config["classifier"] == "own" else f" with classifier `{config['classifier']}`"
    return (
        f"A zero-shot classifier: method `{config['method']}`{scorer}, trained with "
        f"zsl_lab {config['zsl_lab_version']}. It takes "
        f"{inputs} and scores {seen} seen and {unseen} unseen classes of "
        f"{markdown(one_line(config['dataset']))}, or new classes, each described by {described}."
    )


def _use(config: Mapping[str, Any], source: str) -> str:
    if "feature_dim" in config:
        samples, shape = "features", f"  # [N, {config['feature_dim']}], unscaled"
        new = f"{{'name': vector}}  # {config['semantic_dim']} numbers, unscaled"
    else:
        samples, shape, new = "images", "  # a list of files", "{'name': 'what it looks like'}"
    of_pictures = "feature_dim" in config and config["recipe"].get("images")
    extract = "features = model.extract([Path('photo.jpg')])  # of images\n" if of_pictures else ""
    start = "from pathlib import Path\n\nimport zsl_lab" if of_pictures else "import zsl_lab"
    return (
        f'```bash\npip install "zsl-lab[hub]"\n```\n\n```python\n{start}\n\n'
        f"model = zsl_lab.load({source!r})\n{extract}"
        f"found = model.predict({samples}){shape}\n"
        "found.predicted, found.top(5)\n"
        "model.predict(" + samples + ", among='unseen')  # without the seen classes\n"
        f"new = {new}\n"
        f"model.predict({samples}, classes=new)  # among new classes only\n```\n\n"
        f"`{MODEL_FILE}` and `{CONFIG_FILE}` are all that is needed; neither holds code or pickle."
    )


def _metrics(config: Mapping[str, Any]) -> str:
    result, validation = config["result"] or {}, config["run"].get("validation") or {}
    columns = {"test": result["metrics"]} if _is_tested(result) else {}
    if validation:
        columns["validation classes"] = validation
    if not columns:
        return "Not measured."
    rows = [
        [_METRICS[name], *(_percent(values.get(name)) for values in columns.values())]
        for name in _METRICS
    ]
    seed = f"; one run (seed {result['seed']})" if result else ""
    note = f"Means over classes, in percent{seed}."
    if not columns.get("test"):
        note += " No test sample was measured."
    return f"{_table(['metric', *columns], rows)}\n\n{note}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _is_tested(result: Mapping[str, Any]) -> bool:
    return any(value is not None for value in (result.get("metrics") or {}).values())


def _selection(config: Mapping[str, Any]) -> str:
    result = config["result"] or {}
    selection = result.get("selection") or config["config"]["selection"]["name"]
    sentences = [_SELECTED[selection]] if selection in _SELECTED else []
    if selection in ("validation", "last") and _is_tested(result):
        sentences.append(_TESTED_ONCE)
    step, metric = config["run"].get("selected"), config["config"]["selection"].get("metric")
    if step is not None and selection != "last":
        sentences.append(f"Selected by {metric}: step {step}.")
    if config["calibration"]:
        sentences.append(
            f"Calibrated stacking: {config['calibration']:.4g} is added to the scores of unseen "
            "and new classes where a seen class is a candidate; chosen on validation classes."
        )
    return " ".join(sentences)


def _data(config: Mapping[str, Any]) -> str:
    benchmark = (config["result"] or {}).get("benchmark") or {}
    dataset = config["config"]["dataset"]
    seen, unseen = _counts(config)
    rows = [["dataset", config["dataset"]], ["classes", f"{seen} seen, {unseen} unseen"]]
    rows += [["split", benchmark.get("splits_version") or dataset.get("split") or "unknown"]]
    if "feature_dim" in config:
        images, texts = config["recipe"].get("images"), config["recipe"].get("texts")
        origin = images["backbone"] if images else dataset.get("features")
        features = f"{config['feature_dim']} dimensions"
        rows += [
            ["features", f"{features}, {origin}" if origin else features],
            ["scaling of features", f"`{config['scaling']['features']}`, inside the model"],
            ["semantics", _semantics(config, texts, dataset.get("semantics"))],
            ["scaling of semantics", f"`{config['scaling']['semantics']}`, inside the model"],
            ["training samples", str(config["training_samples"] or "unknown")],
        ]
    rows += [
        [f"SHA-256 of {name}", f"`{config['run'][f'{name}_sha256']}`"]
        for name in ("splits", "features")
    ]
    return _table(["", ""], rows)


def _semantics(config: Mapping[str, Any], texts: Mapping[str, Any] | None, kind: Any) -> str:
    found = f"{config['semantic_dim']} dimensions"
    if texts:
        return f"{found}, texts encoded by {texts['encoder']} ({texts['model'] or 'default model'})"
    return f"{found}, {kind}" if isinstance(kind, str) else found


def _classes(config: Mapping[str, Any]) -> str:
    lines = []
    for title, wanted in (("Seen", True), ("Unseen", False)):
        names = [markdown(one_line(c["name"])) for c in config["classes"] if c["seen"] is wanted]
        if names:
            hidden = len(names) - _SHOWN_CLASSES
            more = f", and {hidden} more in `{CONFIG_FILE}`" if hidden > 0 else ""
            lines.append(f"{title}: {', '.join(names[:_SHOWN_CLASSES])}{more}.")
    return "\n\n".join(lines)


def _training(config: Mapping[str, Any]) -> str:
    result, method = config["result"] or {}, dict(config["config"]["method"])
    training = result.get("training") or {}
    measured = [
        f"{text}: {training[name]}"
        for name, text in (("steps", "steps"), ("device", "device"), ("precision", "precision"))
        if training.get(name) is not None
    ]
    versions = result.get("versions") or {}
    known = [f"{name} {versions[name]}" for name in ("python", "torch") if name in versions]
    keys = {name: value for name, value in method.items() if name not in ("_target_", "name")}
    settings = yaml.safe_dump({"method": keys}, sort_keys=False, allow_unicode=True)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", settings)), default=0))
    sentence = markdown("; ".join([*measured, *known]))
    return f"{f'{sentence}.' if sentence else ''}\n\n{fence}yaml\n{settings}{fence}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    numbers = "---:" if heads[1] else "---"
    lines = [list(heads), ["---", *[numbers] * (len(heads) - 1)]]
    lines += [[row[0], *(_cell(str(value)) for value in row[1:])] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    # hashes and kinds are written as code already
    return text if re.fullmatch(r"`[\w.-]+`(, inside the model)?", text) else markdown(text)
