"""What each mechanism is for: ``taxonomy.csv``, one row a registered name, read and written as tables.

The categories are those of the survey by Heidari et al., arXiv 2403.19882, and one for the controls; which of them a
mechanism belongs to, and the other columns, are our reading.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effvit_mm.registry import near_names

CATEGORIES: Mapping[str, str] = {
    "control": "The yardsticks, which no survey lists: every token attends to every token",
    "complexity reduction": "Less work in the attention itself",
    "hierarchical": "Coarser keys or context, for the stages of a pyramid",
    "channel and spatial": "Channels attend to channels, alone or beside the places",
    "rethinking tokenization": "Other tokens, or fewer",
    "others": "Context without attention weights",
}


@dataclass(frozen=True)
class Row:
    """A row of the taxonomy.

    Args:
        kind: ``'mixer'``, ``'merger'``, ``'reducer'``, ``'neck'``, or ``'layers'`` for what is a family of backbones.
        name: As it is registered.
        categories: Keys of :data:`CATEGORIES`; the first is where its row stands.
        technique: What it does.
        objective: What that is good for.
        reduces: Which factor of softmax attention's cost it cuts, or what it replaces.
        multiply_adds: All of them: in tokens N, channels C, channels a head d; the class explains the other letters.
        needs_grid: Whether neighbourhood counts; without, the mechanism permutes with its tokens.
        any_size: Whether one set of weights serves every grid as it is; otherwise a table is resized.
        source: Paper.
        equal_to: Modules of other libraries with which it gives the same numbers from the same weights.
    """

    kind: str
    name: str
    categories: tuple[str, ...]
    technique: str
    objective: str
    reduces: str
    multiply_adds: str
    needs_grid: bool
    any_size: bool
    source: str
    equal_to: tuple[str, ...]


def _read(path: Path) -> tuple[Row, ...]:
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        for cells in csv.DictReader(file):
            values: dict[str, Any] = dict(cells)
            for column in ("categories", "equal_to"):
                values[column] = tuple(filter(None, cells[column].split("; ")))
            for column in ("needs_grid", "any_size"):
                values[column] = cells[column] == "yes"
            rows.append(Row(**values))
    return tuple(rows)


ROWS = _read(Path(__file__).with_name("taxonomy.csv"))
MIXERS: Mapping[str, Row] = {row.name: row for row in ROWS if row.kind == "mixer"}


def list_mixers(category: str | None = None) -> list[str]:
    """Return the names of the token mixers, sorted.

    Args:
        category: A key of :data:`CATEGORIES`, such as ``'complexity reduction'``; None for all. A mixer may belong to
            several.

    Raises:
        ValueError: If there is no such category (near ones are suggested), or none of its mechanisms is a mixer.
    """
    if category is not None and category not in CATEGORIES:
        raise ValueError(f"unknown category {category!r} of mixers; {near_names(category, CATEGORIES)}")
    names = sorted(name for name, row in MIXERS.items() if category is None or category in row.categories)
    if not names:
        raise ValueError(
            f"no mechanism of {category!r} is a token mixer; list_mergers() and list_reducers() name those there are"
        )
    return names


def list_mergers() -> list[str]:
    """Return the names of the token mergings, sorted."""
    return sorted(row.name for row in ROWS if row.kind == "merger")


def list_reducers() -> list[str]:
    """Return the names of the token reducers, sorted."""
    return sorted(row.name for row in ROWS if row.kind == "reducer")


def mixer_tables() -> str:
    """Write the mixers as Markdown: a heading and a table for each category, each mixer in its first."""
    parts = []
    for category, meaning in CATEGORIES.items():
        rows = [row for row in MIXERS.values() if row.categories[0] == category]
        if rows:
            parts.append(f"### {category.capitalize()}\n\n{meaning}.\n\n{_table(rows, _MIXER)}")
    return "\n\n".join(parts) + "\n"


def tokenization_tables() -> str:
    """Write the other mechanisms as Markdown: a heading and a table for each kind."""
    kinds = {
        "Rethinking tokenization: merging (`mergers=`, `stem=`)": ("merger",),
        "Rethinking tokenization: reducing (`reducers=`, or a family of its own)": ("reducer", "layers"),
        "Hierarchical: across scales (`neck=`)": ("neck",),
    }
    columns = {**_COMMON, **_SOURCE}
    parts = [f"### {kind}\n\n{_table([row for row in ROWS if row.kind in of], columns)}" for kind, of in kinds.items()]
    return "\n\n".join(parts) + "\n"


def equality_table() -> str:
    """Write as Markdown which modules of other libraries a mechanism agrees with."""
    modules = {row.name: ", ".join(f"`{path}`" for path in row.equal_to) for row in ROWS if row.equal_to}
    lines = ["| name | gives the same numbers from the same weights as |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{name}` | {of} |" for name, of in modules.items())]) + "\n"


_COMMON: Mapping[str, Callable[[Row], str]] = {
    "name": lambda row: f"`{row.name}`",
    "technique": lambda row: row.technique,
    "objective": lambda row: row.objective,
    "reduces": lambda row: row.reduces,
    "multiply-adds": lambda row: row.multiply_adds,
}
_SOURCE: Mapping[str, Callable[[Row], str]] = {"source": lambda row: row.source}
_MIXER: Mapping[str, Callable[[Row], str]] = {
    **_COMMON,
    "needs a grid": lambda row: "yes" if row.needs_grid else "no",
    "any size": lambda row: "yes" if row.any_size else "no",
    **_SOURCE,
    "also": lambda row: ", ".join(row.categories[1:]),
}


def _table(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
