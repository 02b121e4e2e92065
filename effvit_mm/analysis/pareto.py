"""Which budgets are worth having: the Pareto front of a sweep, as a picture and as a page."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from effvit_mm.analysis.provenance import in_words

COSTS = {
    "macs": ("multiply-adds a picture (G), analytic", 1e-9),
    "median_ms": ("latency (ms), measured", 1.0),
    "peak_memory_mb": ("peak memory (MB), measured", 1.0),
}
LOWER_IS_BETTER = ("rmse", "abs_rel", "sq_rel", "silog", "log_10", "loss")

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


def write_page(rows: Sequence[Row], argument: str, metric: str, picture: Path, file: Path, command: str) -> None:
    """Write a page that needs no network: the picture, the table, and where the figures come from.

    Args:
        rows: Rows of a sweep.
        argument: The argument that was swept.
        metric: The metric of the picture.
        picture: The PNG; it is put into the page.
        file: The page.
        command: The command that made it.
    """
    first = rows[0]
    metrics = [metric, *(name for name in first["metrics"] if name != metric)]
    heads = [argument, *metrics, "GMACs", "median ms", "quartiles ms", "peak MB"]
    front = pareto_front(rows, "macs", metric)
    lines = []
    for row in rows:
        cells = [
            f"{row['value']:g}",
            *(f"{row['metrics'][name]:.4g}" for name in metrics),
            f"{row['macs'] / 1e9:.2f}",
            f"{row['median_ms']:.1f}",
            f"{row['lower_quartile_ms']:.1f} to {row['upper_quartile_ms']:.1f}",
            "-" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f}",
        ]
        shade = ' class="front"' if row in front else ""
        lines.append(f"<tr{shade}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    height, width = first["shape"]
    page = PAGE.format(
        title=html.escape(f"{argument}: {metric} against cost"),
        image=base64.b64encode(picture.read_bytes()).decode(),
        heads="".join(f"<th>{html.escape(head)}</th>" for head in heads),
        rows="\n".join(lines),
        setting=html.escape(f"{first['step']}, {first['batch']} x 3 x {height} x {width}; {first['counted']}"),
        provenance=html.escape(in_words(first["provenance"])),
        command=html.escape(command),
    )
    file.write_text(page)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #223; }}
img {{ max-width: 100%; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .8rem; text-align: right; border-bottom: 1px solid #dde; white-space: nowrap; }}
tr.front td {{ background: #eaf2ff; }}
code {{ background: #f3f3f6; padding: .15rem .4rem; overflow-wrap: anywhere; }}
.note {{ color: #667; font-size: .9rem; }}
</style></head><body>
<h1>{title}</h1>
<img alt="{title}" src="data:image/png;base64,{image}">
<table><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table>
<p class="note">Shaded: no other value has both fewer multiply-adds and a better metric.</p>
<p>{setting}.</p>
<p class="note">Multiply-adds of one picture: analytic, counted from shapes, one multiply-add = 1.
Metrics, latency and memory: {provenance}.</p>
<p><code>{command}</code></p>
</body></html>
"""
