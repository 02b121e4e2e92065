"""A sweep as a page for a person: what each budget saves and costs in words, the front, the table, and pictures."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from effvit_mm.analysis.pareto import lower_is_better, pareto_front
from effvit_mm.analysis.provenance import in_words

MAX_WIDTH = 1400  # pixels of an embedded picture
JPEG_QUALITY = 85

Row = Mapping[str, Any]


def write_page(
    rows: Sequence[Row],
    argument: str,
    metric: str,
    front: Path,
    file: Path,
    command: str,
    pictures: Mapping[str, Sequence[Path]] | None = None,
) -> None:
    """Write a page that needs no network.

    Args:
        rows: Rows of a sweep.
        argument: The argument that was swept.
        metric: The metric of the picture.
        front: The drawing of the front, a PNG; it is put into the page.
        file: The page.
        command: The command that made it.
        pictures: By a caption, pictures to put below the table.
    """
    first = rows[0]
    height, width = first["shape"]
    better = "lower" if lower_is_better(metric) else "higher"
    title = f"{argument}: {metric} against cost"
    shown = [_section(caption, files) for caption, files in (pictures or {}).items() if files]
    page = PAGE.format(
        title=html.escape(title),
        image=base64.b64encode(front.read_bytes()).decode(),
        better=f"{html.escape(metric)}: {better} is better.",
        findings="\n".join(f"<li>{html.escape(finding)}</li>" for finding in findings(rows, argument, metric)),
        table=_table(rows, argument, metric),
        pictures="\n".join(shown),
        setting=html.escape(f"{first['step']}, {first['batch']} x 3 x {height} x {width}; {first['counted']}"),
        provenance=html.escape(in_words(first["provenance"])),
        command=html.escape(command),
    )
    file.write_text(page)


def findings(rows: Sequence[Row], argument: str, metric: str) -> list[str]:
    """Say in a sentence for each value what it saves and costs, against the value of most multiply-adds."""
    dense = max(rows, key=lambda row: row["macs"])
    sentences = []
    for row in rows:
        if row is dense:
            continue
        now, then = row["metrics"][metric], dense["metrics"][metric]
        better = (now < then) if lower_is_better(metric) else (now > then)
        verdict = "the same" if now == then else "better" if better else "worse"
        change = f" ({100 * (now - then) / then:+.1f} %)" if then else ""
        sentences.append(
            f"{argument} {row['value']:g} takes {_share(row, dense, 'macs')} of the multiply-adds and "
            f"{_share(row, dense, 'median_ms')} of the time{_doubt(row, dense)} of {argument} {dense['value']:g}; "
            f"{metric} is {now:.4g} for {then:.4g}{change}, {verdict}."
        )
    return sentences


def _doubt(row: Row, dense: Row) -> str:
    """Say so where the quartiles of two times overlap."""
    faster, slower = sorted((row, dense), key=lambda one: one["median_ms"])
    apart = faster["upper_quartile_ms"] < slower["lower_quartile_ms"]
    return "" if apart else " (within the noise of this measurement)"


def _share(row: Row, dense: Row, cost: str) -> str:
    return f"{100 * row[cost] / dense[cost]:.0f} %"


def _table(rows: Sequence[Row], argument: str, metric: str) -> str:
    metrics = [metric, *(name for name in rows[0]["metrics"] if name != metric)]
    heads = [argument, *metrics, "GMACs", "median ms", "quartiles ms", "peak MB"]
    dense, front = max(rows, key=lambda row: row["macs"]), pareto_front(rows, "macs", metric)
    lines = []
    for row in rows:
        cells = [
            f"{row['value']:g}",
            *(f"{row['metrics'][name]:.4g}" for name in metrics),
            f"{row['macs'] / 1e9:.2f} ({_share(row, dense, 'macs')})",
            f"{row['median_ms']:.1f} ({_share(row, dense, 'median_ms')})",
            f"{row['lower_quartile_ms']:.1f} to {row['upper_quartile_ms']:.1f}",
            "-" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f}",
        ]
        shade = ' class="front"' if row in front else ""
        lines.append(f"<tr{shade}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    titles = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table>"


def _section(caption: str, files: Sequence[Path]) -> str:
    images = "\n".join(_embedded(file) for file in files)
    return f"<h2>{html.escape(caption)}</h2>\n{images}"


def _embedded(file: Path) -> str:
    """Put a picture into the page, smaller and as JPEG: a page of twenty is still sent by mail."""
    picture: Any = cv2.imread(str(file))
    factor = min(1.0, MAX_WIDTH / picture.shape[1])
    if factor < 1:
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return f'<img alt="{html.escape(file.stem)}" src="data:image/jpeg;base64,{base64.b64encode(encoded).decode()}">'


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #223; }}
img {{ max-width: 100%; display: block; margin: .5rem 0; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .8rem; text-align: right; border-bottom: 1px solid #dde; white-space: nowrap; }}
tr.front td {{ background: #eaf2ff; }}
h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
code {{ background: #f3f3f6; padding: .15rem .4rem; overflow-wrap: anywhere; }}
.note {{ color: #667; font-size: .9rem; }}
</style></head><body>
<h1>{title}</h1>
<ul>
{findings}
</ul>
<img alt="{title}" src="data:image/png;base64,{image}">
{table}
<p class="note">{better} Shaded: no other value has both fewer multiply-adds and a better metric. In brackets: the share
of the value with most multiply-adds.</p>
<p>{setting}.</p>
<p class="note">Multiply-adds of one picture: analytic, counted from shapes, one multiply-add = 1.
Metrics, latency and memory: {provenance}.</p>
{pictures}
<h2>Made by</h2>
<p><code>{command}</code></p>
</body></html>
"""
