"""What makes other tokens of a picture, and what joins its scales, as data: the survey's "rethinking tokenization".

One row a name of ``TOKEN_MERGERS`` and ``TOKEN_REDUCERS``, and a row a neck that works across scales. Their place in
the survey by Heidari et al., arXiv 2403.19882, and the columns are our reading, as in
:mod:`effvit_mm.backbones.taxonomy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PartRow:
    """A row of the taxonomy.

    Args:
        technique: What it does.
        objective: What that is good for.
        complexity: Multiply-adds, by the letters of its class.
        places: What becomes of the places of a map: who stands for them, and how they come back.
        source: Paper.
    """

    technique: str
    objective: str
    complexity: str
    places: str
    source: str


MERGERS: Mapping[str, PartRow] = {
    "patch": PartRow(
        "strided convolution whose windows touch",
        "the plain patch embedding",
        "s² I C a token",
        "s² become a token",
        "Dosovitskiy et al. 2021, Wang et al. 2021",
    ),
    "overlapping": PartRow(
        "strided convolution whose windows overlap",
        "tokens that know their neighbours",
        "(2 s - 1)² I C a token",
        "s² become a token",
        "Wang et al. 2022",
    ),
    "deformable": PartRow(
        "strided convolution whose windows bend",
        "tokens that follow what they merge",
        "s² I C + 2 s⁴ I a token",
        "s² become a token, read where offsets point",
        "Pan et al. 2022",
    ),
    "tokens_to_token": PartRow(
        "overlapping windows laid side by side, attention between the steps",
        "a stem that models local structure",
        "N (3 I T + 5 T²) a step",
        "s² become a token",
        "Yuan et al. 2021",
    ),
}

REDUCERS: Mapping[str, PartRow] = {
    "token_learner": PartRow(
        "S sums over all places with learned weights",
        "a handful of tokens for the deep layers",
        "N R (C + S) + N S C; as much to restore",
        "a fuser adds to each place a gated sum of the S tokens",
        "Ryoo et al. 2021",
    ),
    "predicted": PartRow(
        "a predictor decides; Gumbel-softmax in training",
        "fewer tokens, learned end to end with the task",
        "13/8 N C²",
        "tokens that are not kept return as they left",
        "Rao et al. 2021",
    ),
    "class_attention": PartRow(
        "the class token's attention decides; the rest goes on as one token",
        "fewer tokens without a parameter",
        "2 N C",
        "tokens that are not kept return as they left",
        "Liang et al. 2022",
    ),
}

ACROSS_SCALES: Mapping[str, PartRow] = {
    "ContextBridge": PartRow(
        "tokens of all scales attend to reduced ones of all scales, then an Enhanced Mix-FFN on each",
        "context between the levels of a pyramid, before a neck or a decoder",
        "2 N K C + 2 N C² + the reductions and the MLPs, a layer",
        "all stay",
        "Huang et al. 2021",
    ),
    "QueryBridge": PartRow(
        "one query a scale, attending to the tokens of the next",
        "a global exchange between scales at linear cost",
        "2 N C² + 2 N C a scale",
        "all stay, and get what the query found",
        "Chen et al. 2021",
    ),
}


def list_mergers() -> list[str]:
    """Return the names of the token mergings, sorted."""
    return sorted(MERGERS)


def list_reducers() -> list[str]:
    """Return the names of the token reducers, sorted."""
    return sorted(REDUCERS)


def tokenization_tables() -> str:
    """Write the taxonomy as Markdown: a heading and a table for each kind."""
    kinds = {
        "Rethinking tokenization: merging (`mergers=`, `stem=`)": MERGERS,
        "Rethinking tokenization: reducing (`reducers=`)": REDUCERS,
        "Across scales (`neck=`)": ACROSS_SCALES,
    }
    head = ("name", "technique", "objective", "multiply-adds", "places", "source")
    parts = []
    for kind, rows in kinds.items():
        lines = [head, ("---",) * len(head)]
        lines += [
            (f"`{name}`", row.technique, row.objective, row.complexity, row.places, row.source)
            for name, row in rows.items()
        ]
        parts.append("\n".join([f"### {kind}", "", *(f"| {' | '.join(cells)} |" for cells in lines)]))
    return "\n\n".join(parts) + "\n"
