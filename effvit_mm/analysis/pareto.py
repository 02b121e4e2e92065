"""Which budgets are worth having: the Pareto front of a sweep, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COSTS = {
    "macs": ("multiply-adds a picture (G), analytic", 1e-9),
    "median_ms": ("latency (ms), measured", 1.0),
    "peak_memory_mb": ("peak memory (MB), measured", 1.0),
}
LOWER_IS_BETTER = ("rmse", "rmse_log", "abs_rel", "sq_rel", "silog", "log10", "log_10", "loss")

Row = Mapping[str, Any]


def lower_is_better(metric: str) -> bool:
    """Whether a metric is an error: those of depth, and losses."""
    return metric.lower().endswith(LOWER_IS_BETTER)


def pareto_front(rows: Sequence[Row], cost: str, metric: str) -> list[Row]:
    """Return the rows that no other beats in both cost and metric, by rising cost.

    Args:
        rows: Rows of a sweep, each with ``cost`` and a dict ``metrics``.
        cost: A key of :data:`COSTS`.
        metric: A key of ``metrics``.

    Returns:
        The rows of the front; rows without the cost are left out.
    """
    sign = -1 if lower_is_better(metric) else 1
    front: list[Row] = []
    known = [row for row in rows if row.get(cost) is not None]
    for row in sorted(known, key=lambda row: (row[cost], -sign * row["metrics"][metric])):
        if not front or sign * row["metrics"][metric] > sign * front[-1]["metrics"][metric]:
            front.append(row)
    return front


def draw(rows: Sequence[Row], argument: str, metric: str, file: Path) -> None:
    """Draw the metric over each cost, the front as a line.

    Args:
        rows: Rows of a sweep.
        argument: The argument that was swept.
        metric: The metric on the vertical axis.
        file: The PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    costs = [cost for cost in COSTS if any(row.get(cost) is not None for row in rows)]
    figure = Figure(figsize=(4.6 * len(costs), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, cost in zip(figure.subplots(1, len(costs), sharey=True, squeeze=False)[0], costs, strict=True):
        title, scale = COSTS[cost]
        front = pareto_front(rows, cost, metric)
        axes.plot([scale * row[cost] for row in front], [row["metrics"][metric] for row in front], color="#9ab", lw=2)
        for row in rows:
            if row.get(cost) is None:
                continue
            place = (scale * row[cost], row["metrics"][metric])
            axes.plot(*place, "o", ms=8, color="#1f6feb" if row in front else "#c9c9c9")
            axes.annotate(f"{row['value']:g}", place, xytext=(7, -12), textcoords="offset points", fontsize=9)
        axes.set_xlabel(title)
        axes.margins(0.15)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    arrow = "lower is better" if lower_is_better(metric) else "higher is better"
    figure.axes[0].set_ylabel(f"{metric} ({arrow})")
    figure.suptitle(f"each point is a value of {argument}; the line joins those that none beats", fontsize=10)
    figure.savefig(file, dpi=130)
