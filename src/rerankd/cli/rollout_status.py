"""Table of an experiment's means, for `rerankd rollout`."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from rerankd.cli.output import stdout


def print_means(row: dict[str, Any]) -> None:
    """Print the mean of each metric and variant, with the bounds of the difference."""
    from rerankd.experiments.metric_format import format_change, format_mean, metric_label

    table = Table("mean of", "champion", "values", "challenger", "values", "difference, at least", "at most")
    for name, variants in row["means"].items():
        cells = [metric_label(name)]
        for variant in ("champion", "challenger"):
            sums = variants.get(variant)
            cells += [format_mean(name, sums["mean"]), str(sums["count"])] if sums and sums["count"] else ["", ""]
        bounds = row["bounds"].get(name)
        table.add_row(*cells, *(format_change(name, bounds[side]) if bounds else "" for side in ("low", "high")))
    stdout().print(table)
