"""Runs the data check for the data tool, and prints its findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zsl_lab.console.messages import console, say

if TYPE_CHECKING:
    from zsl_lab.data.checks.findings import Finding
    from zsl_lab.data.files.benchmark_file import BenchmarkFile


def check_content(content: BenchmarkFile) -> list[Finding]:
    """Check features and every kind of class semantics of a file.

    Returns:
        The findings, the most serious first.

    Raises:
        DataError: If the content is inconsistent.
    """
    from zsl_lab.data.checks.check import check
    from zsl_lab.data.checks.findings import by_level
    from zsl_lab.data.checks.numbers import check_rounding
    from zsl_lab.data.checks.semantics import check_semantics
    from zsl_lab.data.storage.arrays import float32

    first, *others = content.semantics
    benchmark = content.benchmark(first)
    found = check(benchmark)
    sources, origin = content.provenance.sources, content.provenance.origin
    for kind, table in content.semantics.items():
        file, field = sources.get(f"semantics/{kind}", (origin, f"semantics/{kind}"))
        where = f"{file}: field '{field}'"
        if kind in others:
            attributes = content.recipe.of(kind, table.shape[1]).attributes
            names = benchmark.class_names
            found += check_semantics(float32(table), names, where, attributes)
        found += check_rounding(table, where, "semantics")
    file, field = sources.get("features", (origin, "features"))
    found += check_rounding(content.features, f"{file}: field '{field}'", "features")
    return by_level(found)


def warn_of_findings(findings: Sequence[Finding]) -> None:
    """Print findings with their levels to standard error."""
    from zsl_lab.data.checks.findings import lines

    for line in lines(findings):
        say(f"data check, {line}")


def show_findings(findings: Sequence[Finding]) -> None:
    """Print findings with their levels, or that there are none, to standard output."""
    from zsl_lab.data.checks.findings import lines

    out = console()
    out.print("data check:" if findings else "data check: nothing found", soft_wrap=True)
    for line in lines(findings):
        out.print(f"  {line}", soft_wrap=True)
