"""What each token mixer is for, as data: one row a name of ``TOKEN_MIXERS``.

The categories are those of the survey by Heidari et al., arXiv 2403.19882; which of them a mechanism belongs to, and
the other columns, are our reading.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from effvit_mm.registry import near_names

CATEGORIES: Mapping[str, str] = {
    "control": "The yardstick: every token attends to every token",
    "complexity reduction": "Less work in the attention itself",
    "hierarchical": "Coarser keys or context, for the stages of a pyramid",
    "channel and spatial": "Channels attend to channels, alone or beside the places",
    "others": "Context without attention weights",
}


@dataclass(frozen=True)
class MixerRow:
    """A row of the taxonomy.

    Args:
        category: A key of :data:`CATEGORIES`.
        technique: What it does.
        objective: What that is good for.
        reduces: Which factor of softmax attention's cost it cuts, or what it replaces.
        complexity: Multiply-adds beside the projections, in tokens N, channels C, channels a head d.
        needs_grid: Whether neighbourhood counts; without, the mixer permutes with its tokens.
        any_size: Whether one set of weights serves every grid as it is; otherwise a table is resized.
        source: Paper.
    """

    category: str
    technique: str
    objective: str
    reduces: str
    complexity: str
    needs_grid: bool
    any_size: bool
    source: str


MIXERS: Mapping[str, MixerRow] = {
    "self": MixerRow(
        "control", "softmax over all pairs", "full context", "nothing", "2 N² C", False, True, "Vaswani et al. 2017"
    ),
    "relative": MixerRow(
        "control",
        "softmax over all pairs with a bias for each offset",
        "full context that knows positions",
        "nothing in work; memory from N² to N",
        "2 N² C",
        True,
        False,
        "Liu et al. 2021, Pan et al. 2022",
    ),
    "anchor": MixerRow(
        "complexity reduction",
        "M learned anchors gather and hand on; in the paper's form, a random walk through them",
        "full context at linear cost",
        "pairs: N² to N M",
        "4 N M C, the walk 3 N M C",
        False,
        True,
        "Shan et al. 2025",
    ),
    "agent": MixerRow(
        "complexity reduction",
        "M pooled queries gather and hand on",
        "full context at linear cost, agents made from the picture",
        "pairs: N² to N M",
        "4 N M C + 9 N C",
        True,
        True,
        "Han et al. 2024",
    ),
    "efficient": MixerRow(
        "complexity reduction",
        "softmaxes of queries and keys apart, product from the right",
        "full context at linear cost",
        "pairs: N² to N d",
        "2 N C d",
        False,
        True,
        "Shen et al. 2021",
    ),
    "relu_linear": MixerRow(
        "complexity reduction",
        "ReLU kernel over several scales, product from the right",
        "full context at linear cost, plain operators on devices",
        "pairs: N² to N d; the softmax",
        "(1 + s) N C (C + 2 d + 2) + 3 N C Σ(k² + d)",
        True,
        True,
        "Cai et al. 2023",
    ),
    "window": MixerRow(
        "complexity reduction",
        "softmax inside windows of S² tokens",
        "locality at linear cost",
        "keys of a query: N to S²",
        "2 N S² C",
        True,
        True,
        "Liu et al. 2021",
    ),
    "shifted_window": MixerRow(
        "complexity reduction",
        "softmax inside windows moved by half their side",
        "exchange between windows; alternates with them",
        "keys of a query: N to S²",
        "2 N S² C",
        True,
        True,
        "Liu et al. 2021",
    ),
    "spatial_reduction": MixerRow(
        "hierarchical",
        "keys and values from a strided convolution",
        "full context, coarse keys",
        "keys: N to N / R²",
        "2 N² C / R² + N C² + 2 N C² / R²",
        True,
        True,
        "Wang et al. 2021, Xie et al. 2021",
    ),
    "linear_spatial_reduction": MixerRow(
        "hierarchical",
        "keys and values from a map pooled to P² places",
        "full context at linear cost, very coarse keys",
        "keys: N to P²",
        "2 N P² C + 3 P² C²",
        True,
        True,
        "Wang et al. 2022",
    ),
    "convolutional_projection": MixerRow(
        "hierarchical",
        "queries, keys and values from depth-wise convolutions with stride r on keys",
        "locality inside full attention",
        "keys: N to N / r²",
        "2 N² C / r² + 9 N C (1 + 2 / r²)",
        True,
        True,
        "Wu et al. 2021",
    ),
    "deformable": MixerRow(
        "hierarchical",
        "keys and values read at K points that the queries move",
        "keys where the picture asks for them",
        "keys: N to K = N / r²",
        "2 N K C + 9 N C + K C (k² + 2)",
        True,
        True,
        "Xia et al. 2022",
    ),
    "cross_covariance": MixerRow(
        "channel and spatial",
        "channels of a head attend by normalised covariance, then a local exchange",
        "global statistics at linear cost",
        "the map: N x N to d x d",
        "2 N C d + 18 N C",
        True,
        True,
        "El-Nouby et al. 2021",
    ),
    "channel_group": MixerRow(
        "channel and spatial",
        "channels of a group attend to each other",
        "global statistics at linear cost; alternates with windows",
        "the map: N x N to d x d",
        "2 N C d",
        False,
        True,
        "Ding et al. 2022",
    ),
    "dual": MixerRow(
        "channel and spatial",
        "efficient attention, then transpose attention",
        "places and channels, both at linear cost",
        "pairs: N² to N C; a second map of d x d",
        "4 N C² + 2 N C (C + d)",
        False,
        True,
        "Azad et al. 2022",
    ),
    "pooling": MixerRow(
        "others",
        "mean of the neighbours",
        "the floor under learned mixers",
        "attention as a whole, parameters too",
        "0",
        True,
        True,
        "Yu et al. 2022",
    ),
    "focal": MixerRow(
        "others",
        "query times a gated sum of L depth-wise contexts and a global mean",
        "near to far context without weights for pairs",
        "attention as a whole",
        "N C Σk² + N C (L + 1)",
        True,
        True,
        "Yang et al. 2022",
    ),
}


def list_mixers(category: str | None = None) -> list[str]:
    """Return the names of the token mixers, sorted.

    Args:
        category: A key of :data:`CATEGORIES`, such as ``'complexity reduction'``; None for all.

    Raises:
        ValueError: If there is no such category; near ones are suggested.
    """
    if category is not None and category not in CATEGORIES:
        raise ValueError(f"unknown category {category!r} of mixers; {near_names(category, CATEGORIES)}")
    return sorted(name for name, row in MIXERS.items() if category in (None, row.category))


def taxonomy_tables() -> str:
    """Write the taxonomy as Markdown: a heading and a table for each category."""
    parts = []
    for category, meaning in CATEGORIES.items():
        lines = [f"### {category.capitalize()}", "", f"{meaning}.", "", _cells(*_HEAD), _cells(*["---"] * len(_HEAD))]
        for name, row in MIXERS.items():
            if row.category == category:
                grid, size = ("yes" if yes else "no" for yes in (row.needs_grid, row.any_size))
                lines.append(
                    _cells(
                        f"`{name}`", row.technique, row.objective, row.reduces, row.complexity, grid, size, row.source
                    )
                )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


_HEAD = ("name", "technique", "objective", "reduces", "multiply-adds", "needs a grid", "any size", "source")


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
