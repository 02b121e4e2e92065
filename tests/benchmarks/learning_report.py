"""The table and the plot of ``mixer_learning.py``, from its rows."""

import statistics
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from compared_mixers import SWEEP, VARIANTS
from rich.table import Table

Row = dict[str, Any]
TITLES = {
    "cifar": "CIFAR-10, 64 tokens: accuracy, %",
    "cifar_mix": "The same, convolutions in the MLPs",
    "toy": "Toy scenes, 1280 tokens: mIoU, %",
}
COLORS = {"anchors": "tab:blue", "walk": "tab:orange", "control": "tab:gray", "other": "tab:green"}


def names_of(rows: list[Row], task: str) -> list[str]:
    """The mixers of a task, in the order of the comparison; others behind them."""
    found = {row["mixer"] for row in rows if row["task"] == task}
    return [name for name in VARIANTS if name in found] + sorted(found - {*VARIANTS})


def of(rows: list[Row], task: str, name: str) -> list[Row]:
    """The rows of one mixer, a seed each."""
    return [row for row in rows if (row["task"], row["mixer"]) == (task, name)]


def table_of(rows: list[Row], task: str) -> Table:
    """Mean and range over the seeds, cost, and effective anchors."""
    table = Table(title=TITLES[task])
    table.add_column("mixer")
    for heading in ("score", "range", "seeds", "parameters", "multiply-adds", "effective anchors"):
        table.add_column(heading, justify="right")
    for name in names_of(rows, task):
        runs = of(rows, task, name)
        scores = [row["score"] for row in runs]
        ranks = [rank for row in runs for rank in row["exchange"][-1]["rank"]]
        table.add_row(
            name,
            f"{statistics.mean(scores):.1f}",
            f"{min(scores):.1f} to {max(scores):.1f}",
            str(len(runs)),
            f"{runs[0]['parameters'] / 1e3:.0f} k",
            f"{runs[0]['macs'] / 1e6:.1f} M",
            f"{min(ranks):.1f} to {max(ranks):.1f}" if ranks else "",
        )
    return table


def draw(rows: list[Row], path: Path) -> None:
    """Save the scores of both tasks, what the number of anchors does, and how many anchors take effect."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels: dict[str, Callable[..., None]] = {
        task: partial(_scores, task=task) for task in TITLES if names_of(rows, task)
    }
    panels["exchange"] = _exchange
    if any(row["mixer"] in SWEEP for row in rows):
        panels["sweep"] = _sweep
    figure, axes = plt.subplots(
        -(-len(panels) // 2), 2, figsize=(13, 5.2 * (-(-len(panels) // 2))), layout="constrained"
    )
    for axis, panel in zip_longest(axes.flat, panels.values()):
        if panel is None:
            axis.axis("off")
        else:
            panel(axis, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def _scores(axis: Any, rows: list[Row], task: str) -> None:
    names = [name for name in names_of(rows, task) if name not in SWEEP]
    for place, name in enumerate(reversed(names)):
        scores = [row["score"] for row in of(rows, task, name)]
        color = COLORS[_family(name)]
        _points(axis, scores, [place] * len(scores), color)
        axis.plot([statistics.mean(scores)], [place], "|", color=color, markersize=14, markeredgewidth=2.5)
    axis.set_yticks(range(len(names)), names[::-1])
    axis.set(title=TITLES[task])
    axis.grid(alpha=0.3)


def _sweep(axis: Any, rows: list[Row]) -> None:
    points = [(SWEEP[row["mixer"]], row["score"]) for row in rows if row["task"] == "cifar" and row["mixer"] in SWEEP]
    for anchors in sorted({anchors for anchors, _ in points}):
        scores = [score for taken, score in points if taken == anchors]
        _points(axis, [anchors] * len(scores), scores, COLORS["anchors"])
        axis.plot(
            [anchors], [statistics.mean(scores)], "_", color=COLORS["anchors"], markersize=16, markeredgewidth=2.5
        )
    for name, color in (("dense", COLORS["other"]), ("mean", COLORS["control"])):
        if runs := of(rows, "cifar", name):
            axis.axhline(_mean(runs, "score"), color=color, linestyle=":", label=name)
            axis.legend()
    axis.set(title="CIFAR-10: number of anchors", xlabel="M", ylabel="accuracy, %", xscale="log")
    axis.set_xticks(ticks := sorted({anchors for anchors, _ in points}), [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def _exchange(axis: Any, rows: list[Row]) -> None:
    for name, color in (("paper", "tab:red"), ("cosine", COLORS["walk"]), ("apart", COLORS["anchors"])):
        for number, task in enumerate(TITLES):
            runs = of(rows, task, name)
            if not runs:
                continue
            curves = zip(*([statistics.mean(point["rank"]) for point in row["exchange"]] for row in runs), strict=True)
            means = [statistics.mean(values) for values in curves]
            share = [i / (len(means) - 1) for i in range(len(means))]
            axis.plot(share, means, ("-", ":", "--")[number], color=color, label=f"{name}, {task}")
    axis.set(title="Effective anchors, mean over layers", xlabel="share of the training", ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, -0.32))


def _points(axis: Any, xs: list[float], ys: list[float], color: str) -> None:
    axis.plot(xs, ys, "o", color=color, alpha=0.45, markersize=5, markeredgewidth=0)


def _family(name: str) -> str:
    if name.startswith("mean"):
        return "control"
    if name.startswith(("paper", "cosine")):
        return "walk"
    return "anchors" if name.startswith("apart") else "other"


def _mean(rows: list[Row], key: str) -> float:
    return statistics.mean(row[key] for row in rows)
