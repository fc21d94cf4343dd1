"""Build a W&B report over the runs of a project that were logged with ``logger=wandb``.

    python experiments/wandb/dashboard.py --entity ME --project zsl_lab [--group SWEEP] [--keys
    method.g method.p] [--dry-run]

``--group`` takes the runs of one sweep alone, ``--keys`` are what was swept over; ``--dry-run``
lists the panels and asks nobody.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces import expr

#: figures of a run, as logger=wandb names them
HARMONIC, SEEN, UNSEEN, VALIDATION = (
    "metrics/harmonic_mean",
    "metrics/seen",
    "metrics/unseen",
    "validation/harmonic_mean",
)
#: SGAL's
KEYS = ("method.g", "method.p", "method.d", "method.gamma")
PICTURES = (
    "figures/confusion_matrix_unseen",
    "figures/latent_projection",
    "figures/per_class_recall",
)
#: a report is this many columns wide
WIDTH = 24


def build(
    entity: str, project: str, group: str | None = None, keys: Sequence[str] = KEYS
) -> wr.Report:
    """The report, not saved yet.

    Args:
        entity: The user or team that the project belongs to.
        project: The project.
        group: Of which group the runs are, that is, of which sweep; None for all of them.
        keys: Configuration keys that were swept over.
    """

    def section(title: str, panels: list[Any], by: Sequence[str] = ()) -> list[Any]:
        runs = wr.Runset(
            entity=entity,
            project=project,
            name=group or "all runs",
            filters=expr.And(expr.Metric("Group") == group) if group else "",
            groupby=[f"config.{key}" for key in by],
        )
        return [wr.H2(title), wr.PanelGrid(runsets=[runs], panels=panels)]

    columns = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key), display_name=key) for key in keys
    ]
    columns += [
        wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(name), display_name=name)
        for name in (VALIDATION, HARMONIC)
    ]
    curves = [
        (phase, [f"{phase}/check/{name}" for name in ("unseen", "seen", "harmonic_mean")])
        for phase in ("select", "refit")
    ]
    return wr.Report(
        entity=entity,
        project=project,
        title=f"zsl_lab: {group or project}",
        description="Accuracies are per class, in percent. Steps and settings are chosen by "
        "validation/*; oracle/* is selected on test.",
        width="fluid",
        blocks=[
            *section(
                "Harmonic mean by method and dataset",
                [
                    wr.BarPlot(
                        title="H on test",
                        metrics=[HARMONIC],
                        orientation="h",
                        layout=wr.Layout(w=WIDTH, h=8),
                    )
                ],
                by=("dataset.name", "method.name"),
            ),
            *section(
                "Swept keys",
                [
                    wr.ParallelCoordinatesPlot(
                        title="settings and what they gave",
                        columns=columns,
                        layout=wr.Layout(w=WIDTH, h=10),
                    ),
                    *(
                        wr.ScatterPlot(
                            title=f"{VALIDATION} against {key}",
                            x=wr.Config(key),
                            y=wr.SummaryMetric(VALIDATION),
                        )
                        for key in keys
                    ),
                ],
            ),
            *section(
                "Seen against unseen classes",
                [
                    wr.ScatterPlot(
                        title="trade-off on test, a point a run",
                        x=wr.SummaryMetric(SEEN),
                        y=wr.SummaryMetric(UNSEEN),
                        range_x=(0, 100),
                        range_y=(0, 100),
                        layout=wr.Layout(w=WIDTH // 2, h=10),
                    )
                ],
            ),
            *section(
                "Recall of each class",
                [
                    wr.WeavePanelSummaryTable(
                        table_name="per_class", layout=wr.Layout(w=WIDTH, h=12)
                    )
                ],
            ),
            *section(
                "Training",
                [
                    wr.LinePlot(
                        title=f"{phase}: checks",
                        x=f"{phase}/step",
                        y=list(names),
                        layout=wr.Layout(w=WIDTH // 2, h=8),
                    )
                    for phase, names in curves
                ],
            ),
            *section(
                "Pictures",
                [
                    wr.MediaBrowser(
                        title=key,
                        media_keys=[key],
                        num_columns=2,
                        layout=wr.Layout(w=WIDTH // 3, h=10),
                    )
                    for key in PICTURES
                ],
            ),
        ],
    )


def listing(report: wr.Report) -> str:
    """Title, sections and panels of a report, a line each."""
    lines = [f"{report.title} ({report.entity}/{report.project})"]
    for block in report.blocks:
        if isinstance(block, wr.H2):
            lines.append(f"  {block.text}")
        elif isinstance(block, wr.PanelGrid):
            lines += [
                f"    {type(panel).__name__}: {getattr(panel, 'title', None) or panel.table_name}"
                for panel in block.panels
            ]
    return "\n".join(lines)


def main() -> None:
    """Save the report and print its address, or list it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--entity", required=True, help="the user or team that the project belongs to"
    )
    parser.add_argument("--project", default="zsl_lab")
    parser.add_argument(
        "--group", help="the runs of this sweep alone: its folder's name, or logger.wandb.group"
    )
    parser.add_argument(
        "--keys",
        nargs="+",
        default=KEYS,
        help=f"configuration keys that were swept over (default: {' '.join(KEYS)})",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the panels; no network")
    chosen = parser.parse_args()
    report = build(chosen.entity, chosen.project, chosen.group, chosen.keys)
    print(listing(report))
    if not chosen.dry_run:
        print(report.save().url)


if __name__ == "__main__":
    main()
