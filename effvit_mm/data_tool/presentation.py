"""What was found, as tables and as JSON."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from effvit_mm.data_tool.findings import Count, Findings, Report

NUM_PROBLEMS = 10
NUM_CLASSES = 20  # rows of the table of classes; of more, the most and the least frequent


def show(report: Report) -> None:
    """Print a report."""
    console = Console(soft_wrap=True)
    console.print(_counts(report))
    if report.layout:
        console.print(report.layout, markup=False, highlight=False)
    for refusal in report.refusals:
        console.print(f"A run would stop at once: {refusal}", markup=False, highlight=False)
    if any(part.amounts for part in report.findings):
        console.print(_classes(report))
    for part in report.findings:
        for note in part.notes:
            console.print(f"{part.split}: {note}", markup=False, highlight=False)
    for note in report.notes:
        console.print(note, markup=False, highlight=False)
    _show_problems(report, console)
    if report.sheet:
        console.print(f"pictures  {report.sheet}", markup=False, highlight=False)
    if report.unsaved:
        console.print(report.unsaved, markup=False, highlight=False)
    console.print(_verdict(report), markup=False, highlight=False)


def as_json(report: Report) -> dict[str, Any]:
    """Return a report as what JSON can hold."""
    return dict(
        name=report.name,
        ok=report.is_fine,
        splits=[_split_as_json(part) for part in report.findings],
        layout=report.layout,
        refusals=list(report.refusals),
        notes=list(report.notes),
        sheet=str(report.sheet) if report.sheet else None,
        unsaved=report.unsaved,
    )


def _split_as_json(part: Findings) -> dict[str, Any]:
    total = sum(part.amounts.values())
    return dict(
        split=part.split,
        ok=part.is_fine,
        counts=[
            dict(what=count.what, where=str(count.where), found=count.found, expected=count.expected, ok=count.is_fine)
            for count in part.counts
        ],
        pictures=part.num_pictures,
        opened=part.num_opened,
        unit=part.unit,
        classes={
            name: dict(count=count, share=count / total if total else 0.0, pictures=part.pictures[name])
            for name, count in part.amounts.items()
        },
        problems=dict(
            total=len(part.problems),
            by_kind=dict(Counter(problem.kind for problem in part.problems)),
            first=[vars(problem) for problem in part.problems[:NUM_PROBLEMS]],
            remedies=part.remedies,
        ),
        notes=part.notes,
    )


def _counts(report: Report) -> Table:
    places = [count.where for part in report.findings for count in part.counts]
    root = Path(os.path.commonpath(places)) if len(set(places)) > 1 else Path(*places[:1]).parent
    table = Table("split", "what", title=f"{report.name} in {root}")
    for name in ("found", "expected"):
        table.add_column(name, justify="right")
    table.add_column("where", overflow="fold")
    for part in report.findings:
        table.add_section()
        for place, count in enumerate(part.counts):
            expected = "" if count.expected is None else f"{count.expected:,}"
            same = place and count.where == part.counts[place - 1].where
            where = Text("" if same else os.path.relpath(count.where, root))
            table.add_row("" if place else part.split, count.what, _found(count), expected, where)
        if part.num_pictures:
            table.add_row("", "opened", f"{part.num_opened:,}", f"of {part.num_pictures:,}", "")
    return table


def _found(count: Count) -> Text:
    style = "green" if count.is_fine and count.expected is not None else "" if count.is_fine else "bold red"
    return Text("MISSING" if count.found is None else f"{count.found:,}", style=style)


def _classes(report: Report) -> Table:
    """Set the classes of the splits side by side, the most frequent of the first split on top."""
    parts = [part for part in report.findings if part.amounts]
    names = sorted(
        dict.fromkeys(name for part in parts for name in part.amounts),
        key=lambda name: [-part.amounts[name] for part in parts],
    )
    are_ranges = parts[0].unit == "pixels" and any(name.endswith(" m") for name in names)
    if are_ranges:
        names = list(dict.fromkeys(name for part in parts for name in part.amounts))  # depth goes from near to far
    sampled = any(part.num_opened < part.num_pictures for part in parts) and parts[0].unit == "pixels"
    what = f"{parts[0].unit} of {len(names)} classes" if parts[0].unit != "pixels" else "pixels"
    table = Table("depth" if are_ranges else "class", title=f"{what}{' (of the pictures opened)' if sampled else ''}")
    for part in parts:
        for column in (part.unit, "share", "pictures"):
            table.add_column(f"{part.split} {column}" if column != "share" else column, justify="right")
    half = NUM_CLASSES // 2
    for name in names if len(names) <= NUM_CLASSES else [*names[:half], None, *names[-half:]]:
        cells = [] if name is None else [cell for part in parts for cell in _row(part, name)]
        table.add_row(Text(f"... {len(names) - 2 * half} more" if name is None else name), *cells)
    return table


def _row(part: Findings, name: str) -> list[str]:
    total = sum(part.amounts.values())
    share = f"{part.amounts[name] / total:.2%}" if total else ""
    return [f"{part.amounts[name]:,}", share, f"{part.pictures[name]:,}"]


def _show_problems(report: Report, console: Console) -> None:
    problems = report.problems
    if not problems:
        return
    kinds = Counter(problem.kind for problem in problems)
    listed = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
    console.print(f"{_number(len(problems), 'problem')}: {listed}", markup=False, highlight=False, style="bold red")
    for problem in problems[:NUM_PROBLEMS]:
        text = problem.text.removeprefix(problem.file).strip()
        console.print(f"  {problem.file}  {text}", markup=False, highlight=False)
    if len(problems) > NUM_PROBLEMS:
        console.print(f"  ... and {len(problems) - NUM_PROBLEMS:,} more", markup=False, highlight=False)
    for remedy in dict.fromkeys(remedy for part in report.findings for remedy in part.remedies):
        console.print(remedy, markup=False, highlight=False)


def _verdict(report: Report) -> str:
    if report.is_fine:
        opened = sum(part.num_opened for part in report.findings)
        total = sum(part.num_pictures for part in report.findings)
        return f"{report.name}: nothing is wrong" + (
            f" with the {opened:,} pictures opened of {total:,}" if opened < total else ""
        )
    counts = [count for part in report.findings for count in part.counts if not count.is_fine]
    missing = ["folder" if "folder" in count.what else "file" for count in counts if count.found is None]
    odd = len(counts) - len(missing)
    reasons = [f"{_number(odd, 'count')} other than expected"] if odd else []
    reasons += [f"{_number(number, what)} missing" for what, number in Counter(missing).items()]
    reasons += [_number(len(report.problems), "problem")] if report.problems else []
    reasons += ["a run would stop"] if report.refusals else []
    return f"{report.name}: to be mended ({', '.join(reasons)})"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"
