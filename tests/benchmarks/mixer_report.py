"""The tables, the page and the plot of ``mixers.py``, from its rows."""

import statistics
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matched_widths import REFERENCE, WIDTHS, reference_macs
from rich.table import Column, Table

from effvit_mm.analysis.pareto import pareto_front
from effvit_mm.analysis.provenance import in_words
from effvit_mm.backbones.taxonomy import CATEGORIES, MIXERS

Row = dict[str, Any]
Cells = tuple[str, Callable[[str], str]]

OTHER = "tab:purple"
AT = "1x512x512"
LEARNED = {"toy": "toy scenes, mIoU, %", "cifar": "CIFAR-10, accuracy, %"}
SLOWEST = 2.0
LABEL_HEIGHT = 0.042
USED = [category for category in CATEGORIES if any(row.categories[0] == category for row in MIXERS.values())]
COLORS = dict(zip(USED, ("tab:gray", "tab:blue", "tab:orange", "tab:green", "tab:red"), strict=True))


class Found:
    """The rows of one device, by part and mixer.

    Args:
        rows: Those of ``mixers.py``.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.costs = {row["mixer"]: row for row in self.of("cost")}

    def of(self, part: str) -> list[Row]:
        """All rows of a part."""
        return [row for row in self.rows if row["part"] == part]

    def one(self, part: str, mixer: str, on: str | None = None) -> Row:
        """The row of a mixer, empty where there is none; for some pictures, or whatever it is on."""
        rows = (row for row in self.of(part) if row["mixer"] == mixer and on in (None, row["on"]))
        return next(rows, {})

    def conditions(self, part: str) -> list[str]:
        """What a part was measured on, the smallest pictures first."""
        return sorted({row["on"] for row in self.of(part)}, key=lambda on: [int(side) for side in on.split("x")[1:]])

    def mixers(self) -> list[str]:
        """The mixers, in the order of the taxonomy; others behind them."""
        return [*(name for name in MIXERS if name in self.costs), *(name for name in self.costs if name not in MIXERS)]

    def scores(self, part: str, mixer: str) -> list[float]:
        """Scores of what was learned, a seed each."""
        return [row["score"] for row in self.of(part) if row["mixer"] == mixer and "score" in row]


def counted(found: Found) -> list[Cells]:
    """The columns that are the same on every machine."""
    return [
        ("widths", lambda name: ", ".join(map(str, found.costs[name]["channels"]))),
        ("parameters", lambda name: f"{found.costs[name]['parameters'] / 1e6:.2f} M"),
        ("multiply-adds at 512", lambda name: f"{found.costs[name]['macs'] / 1e9:.2f} G"),
        ("over the reference", lambda name: _match(found.costs[name])),
        *(
            (f"at {on}", lambda name, on=on: _work(found, "latency", name, on))
            for on in found.conditions("latency")
            if on != AT
        ),
        *(
            (f"on {heading.split(',')[0]}", lambda name, part=part: _work(found, part, name))
            for part, heading in LEARNED.items()
            if found.of(part)
        ),
    ]


def measured(found: Found) -> list[Cells]:
    """The other columns, those for which there is anything."""
    some: list[Cells] = [
        (
            f"time, {on}, {_one(found, on)}",
            lambda name, on=on: _figure(found.one("latency", name, on), "ratio", 2),
        )
        for on in found.conditions("latency")
    ]
    some += [
        (f"peak MB, {on}", lambda name, on=on: _figure(found.one("memory", name, on), "megabytes", 0))
        for on in found.conditions("memory")
    ]
    some += [
        ("layer: time ~ N^", lambda name: _growth(found.one("layer", name), "time_exponent")),
        ("memory ~ N^", lambda name: _growth(found.one("layer", name), "memory_exponent")),
    ]
    some += [(heading, lambda name, part=part: _mean(found.scores(part, name))) for part, heading in LEARNED.items()]
    return [(heading, cell) for heading, cell in some if any(cell(name) for name in found.mixers())]


def _one(found: Found, on: str) -> str:
    """Say what 1 stands for in a column of latencies."""
    seconds = [row["reference_ms"] / 1e3 for row in found.of("latency") if row["on"] == on and "reference_ms" in row]
    return f"over {statistics.median(seconds):.2g} s" if seconds else "over the reference's"


def tables_of(found: Found) -> list[Table]:
    """What is counted, and what is measured; a mixer a row."""
    title = f"Equal multiply-adds: {REFERENCE} at {', '.join(map(str, WIDTHS))}, {reference_macs() / 1e9:.2f} G at 512"
    tables = []
    for columns in filter(None, (counted(found), measured(found))):
        table = Table(Column("mixer", no_wrap=True), title=title if not tables else None)
        for heading, _ in columns:
            table.add_column(heading, justify="right", max_width=17)
        for name in found.mixers():
            table.add_row(shown(name), *(cell(name) for _, cell in columns))
        tables.append(table)
    return tables


def write_markdown(found: Found, path: Path) -> None:
    """Write the tables for a page, and under them where the figures come from and what was not run."""
    lines = []
    for columns in filter(None, (counted(found), measured(found))):
        heads = ["mixer", *(heading for heading, _ in columns)]
        lines += [_cells(heads), _cells(["---"] * len(heads))]
        lines += [*(_cells([f"`{shown(name)}`", *(cell(name) for _, cell in columns)]) for name in found.mixers()), ""]
    origins = {in_words(row): None for row in found.rows if "figures" in row}
    if origins:
        lines += [*(f"{origin}." for origin in origins), *_spread(found)]
    stopped = [row for row in found.rows if "stopped" in row]
    if stopped:
        limits = (f"- {row['part']} of `{shown(row['mixer'])}` on {row['on']}: {row['stopped']}" for row in stopped)
        lines += ["", "Not run, or not to the end:", "", *limits]
    path.write_text("\n".join(lines).rstrip() + "\n")


def scatter(found: Found, path: Path) -> str:
    """Draw scores over latency at 512 and say what was drawn, or what is missing for it."""
    panels = {part: points for part in LEARNED if len(points := _points(found, part)) > 1}
    if not panels:
        return f"no plot: it needs latency on {AT} and scores of two mixers or more (--parts toy)"
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8 * len(panels), 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (part, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        front = pareto_front(points, "ratio", "score")
        line = [(min(row["ratio"], SLOWEST), row["metrics"]["score"]) for row in front]
        axes.plot(*zip(*line, strict=True), color="#9ab", zorder=0)
        for point in points:
            _draw_point(axes, point, filled=found.costs[point["mixer"]]["matched"])
        axes.set(xlabel=f"latency on {AT}, over that of {REFERENCE}", ylabel=LEARNED[part])
        axes.grid(alpha=0.25)
        _draw_labels(axes, points)
    for category, color in {**COLORS, "hybrid or variant": OTHER}.items():
        axes.plot([], [], "o", color=color, label=category)
    axes.plot([], [], "o", color="black", mfc="white", label="not matched: other multiply-adds")
    said = f"equal multiply-adds at 512x512; bars: seeds; the line joins those that none beats; > is beyond {SLOWEST:g}"
    figure.suptitle(said, fontsize=10)
    figure.legend(loc="outside lower center", ncols=4 * len(panels), fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return f"plot: {path}"


def _points(found: Found, part: str) -> list[Row]:
    """What has both a latency and scores, the fastest first."""
    points = []
    for name in found.mixers():
        scores, ratio = found.scores(part, name), found.one("latency", name, AT).get("ratio")
        if scores and ratio:
            metrics = {"score": statistics.mean(scores)}
            points.append({"mixer": name, "ratio": ratio, "scores": scores, "metrics": metrics})
    return sorted(points, key=lambda point: point["ratio"])


def _draw_point(axes: Any, point: Row, *, filled: bool) -> None:
    color, score, ratio = _color(point["mixer"]), point["metrics"]["score"], point["ratio"]
    at, marker = (ratio, "o") if ratio <= SLOWEST else (SLOWEST, ">")
    axes.plot([at] * 2, [min(point["scores"]), max(point["scores"])], color=color, alpha=0.5, lw=1.5)
    axes.plot(at, score, marker, color=color, mfc=color if filled else "white", ms=7)


def _draw_labels(axes: Any, points: Sequence[Row]) -> None:
    """Write the names in a column on the right, in the order of the scores, a thin line from each to its point."""
    points = sorted(points, key=lambda point: point["metrics"]["score"])
    low, high = axes.get_ylim()
    heights = [(point["metrics"]["score"] - low) / (high - low) for point in points]
    for place, point in enumerate(points):
        # A hybrid has each mixer once, with the number of stages that have it.
        stages = [(name, len([*some])) for name, some in groupby(point["mixer"].split("|"))]
        name = ", ".join(name if len(stages) == 1 else f"{number} {name}" for name, number in stages)
        ratio = point["ratio"]
        axes.annotate(
            f"{name}, at {ratio:.1f}" if ratio > SLOWEST else name,
            (min(ratio, SLOWEST), point["metrics"]["score"]),
            xytext=(1.03, apart(heights, LABEL_HEIGHT)[place]),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=_color(point["mixer"]),
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#ccc", "lw": 0.6, "shrinkA": 0, "shrinkB": 4, "relpos": (0, 0.5)},
        )


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Move heights between 0 and 1, which ascend, as little as keeps neighbours ``least`` apart: a crowd, evenly."""

    def middle(crowd: Sequence[float]) -> float:
        half = least * (len(crowd) - 1) / 2
        return min(max(statistics.mean(crowd), half), 1 - half)

    crowds: list[list[float]] = []
    for height in heights:
        crowds.append([height])
        while len(crowds) > 1 and middle(crowds[-1]) - middle(crowds[-2]) < least * sum(map(len, crowds[-2:])) / 2:
            crowds[-2:] = [crowds[-2] + crowds[-1]]
    return [middle(crowd) + least * (place - (len(crowd) - 1) / 2) for crowd in crowds for place in range(len(crowd))]


def _color(mixer: str) -> str:
    row = MIXERS.get(mixer)
    return COLORS[row.categories[0]] if row else OTHER


def shown(name: str) -> str:
    """Write a hybrid without the bars that a table's cells end at."""
    return name.replace("|", ", ")


def _spread(found: Found) -> list[str]:
    """Say in which latency the rounds differ most."""
    rows = [row for row in found.of("latency") if "quartiles" in row]
    if not rows:
        return []
    widest = max(rows, key=lambda row: (row["quartiles"][1] - row["quartiles"][0]) / row["ratio"])
    low, high = widest["quartiles"]
    where = f"`{shown(widest['mixer'])}` on {widest['on']}"
    return [f"Times are medians of rounds; the widest quartiles are {low:.2f} to {high:.2f} ({where})."]


def _match(row: Row) -> str:
    return f"{row['ratio']:.2f}" + ("" if row["matched"] else ", not matched")


def _work(found: Found, part: str, name: str, on: str | None = None) -> str:
    """Multiply-adds over the reference's on what a part was measured on."""
    ours, theirs = (found.one(part, some, on).get("macs") for some in (name, REFERENCE))
    return f"{ours / theirs:.2f}" if ours and theirs else ""


def _figure(row: Row, key: str, digits: int) -> str:
    if key not in row:
        return "not run" if row else ""
    return f"{row[key]:.{digits}f}"


def _growth(row: Row, key: str) -> str:
    if row.get(key) is None:
        return ""
    return f"{row[key]:.2f}" + (f" (to {row['tokens'][-1]} tokens)" if "stopped" in row else "")


def _mean(scores: Sequence[float]) -> str:
    """Write the mean over seeds, and half of their range."""
    if len(scores) < 2:
        return f"{scores[0]:.1f}" if scores else ""
    return f"{statistics.mean(scores):.1f} ±{(max(scores) - min(scores)) / 2:.1f}"


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
