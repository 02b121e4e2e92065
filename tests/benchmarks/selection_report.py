"""The tables and the plot of ``selection_quality.py``, from its rows."""

import statistics
from pathlib import Path

from rich.console import Console
from rich.table import Table
from selection_tasks import LARGE

KEEPS = (0.5, 0.3)
ONE_TOKEN = 0.01
CHOICES = ("scored", "predicted", "own", "class_token", "random")
BOUNDS = ("true map", "reversed")
LABELS = "labels known"
PROBES = (4, 16, 64)


def report(rows: list[dict], task: str, folder: Path) -> None:
    """Print the tables, and draw the first figure of every choice."""
    rows = [row for row in rows if row["task"] == task]
    metric = "mIoU" if task.startswith("segmentation") else "rmse"
    table = Table(
        "choice",
        *(f"{kind}, keep {keep}" for keep in KEEPS for kind in ("as it is", "tuned")),
        title=f"{task}: {metric}",
    )
    shares = {"dense": 1.0, "one token": ONE_TOKEN}
    for choice in ("dense", "one token", LABELS, *BOUNDS, *CHOICES):
        cells = [
            spread(rows, metric, kind=kind, choice=choice, keep=shares.get(choice, keep))
            for keep in KEEPS
            for kind in ("as it is", "tuned")
        ]
        table.add_row(choice, *cells)
    Console(width=120).print(table)
    names = [f"overlap_{keep}" for keep in KEEPS] + ["spearman"]
    table = Table("choice", *names, "kl", title="agreement with the true map")
    for choice in ("trained", "untrained", "own", "class_token", "random"):
        table.add_row(choice, *(spread(rows, name, kind="agreement", choice=choice) for name in (*names, "kl")))
    Console(width=120).print(table)
    table = Table(
        "selector", "query rows", *names, title=f"some of {LARGE[0] * LARGE[1] // 256} query rows against all"
    )
    for choice in ("trained", "untrained"):
        for probes in PROBES:
            cells = [spread(rows, name, kind="rows", choice=choice, probes=probes) for name in names]
            table.add_row(choice, str(probes), *cells)
    Console(width=120).print(table)
    draw(rows, metric, folder / f"{task}.png")


def of(rows: list[dict], metric: str, **about: object) -> list[float]:
    return [row[metric] for row in rows if about.items() <= row.items()]


def spread(rows: list[dict], metric: str, **about: object) -> str:
    found = of(rows, metric, **about)
    if not found:
        return "-"
    return (
        f"{statistics.fmean(found):.3f} ({min(found):.3f} to {max(found):.3f})" if len(found) > 1 else f"{found[0]:.3f}"
    )


def draw(rows: list[dict], metric: str, file: Path) -> None:
    """Draw every seed as a point and the mean as a bar, a panel for each share and phase."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 * len(KEEPS))
    for phase in (panels[: len(KEEPS)], panels[len(KEEPS) :]):
        for axes in phase[1:]:
            axes.sharey(phase[0])
    for axes, (kind, keep) in zip(
        panels, [(kind, keep) for kind in ("as it is", "tuned") for keep in KEEPS], strict=True
    ):
        choices = (*((LABELS, *BOUNDS) if kind == "as it is" else ()), *CHOICES)
        for i, choice in enumerate(choices):
            found = of(rows, metric, kind=kind, choice=choice, keep=keep)
            axes.plot(
                [i] * len(found),
                found,
                "o",
                color="#1f6feb" if choice in ("predicted", "scored") else "#999",
                alpha=0.8,
            )
        for name, color in (("dense", "#2a2"), ("one token", "#c33")):
            level = of(rows, metric, kind=kind, choice=name)
            if level:
                axes.axhline(statistics.fmean(level), color=color, lw=1, label=name)
        axes.set_xticks(range(len(choices)), choices, rotation=60, ha="right", fontsize=8)
        axes.set_title(f"keep {keep}, {'fine-tuned' if kind == 'tuned' else 'dense weights'}", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    panels[0].set_ylabel(f"{metric} ({'lower' if metric == 'rmse' else 'higher'} is better)")
    panels[-1].legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=130)
