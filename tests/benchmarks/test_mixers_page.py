"""The tables of docs/mixers.md are those of the rows in docs/rows."""

import json
from collections import Counter

import pytest
from cases import ROOT
from matched_widths import ledger_of, options_of
from mixer_report import LEARNED, Found, write_markdown
from mixer_rows import GRIDS, PICTURES, Rows

from effvit_mm.backbones import create_backbone, list_mixers

PAGE = (ROOT / "docs/mixers.md").read_text(encoding="utf-8").splitlines()
ROWS = Rows(ROOT / "docs/rows/mixers.jsonl").of_device("cpu", "float32")
CONDITIONS = {"latency": PICTURES, "memory": PICTURES, "layer": [" ".join(map(str, GRIDS))]}


def test_the_page_shows_the_rows(tmp_path):
    write_markdown(Found(ROWS), tmp_path / "mixers.md")
    lines = (tmp_path / "mixers.md").read_text(encoding="utf-8").splitlines()
    measured = PAGE[PAGE.index("## Measured") : PAGE.index("## Other tokens, other scales")]
    assert [line for line in measured if line.startswith("|")] == [line for line in lines if line.startswith("|")]


@pytest.mark.parametrize("name", list_mixers())
def test_every_mixer_was_measured_in_every_way(name):
    there = {(row["part"], row.get("on")) for row in ROWS if row["mixer"] == name}
    assert {(part, on) for part, conditions in CONDITIONS.items() for on in conditions} <= there
    assert {"cost", *LEARNED} <= {part for part, _ in there}


def test_a_seed_was_learned_once_and_to_the_end():
    learned = [row for row in ROWS if row["part"] in LEARNED]
    assert max(Counter((row["part"], row["mixer"], row["on"]) for row in learned).values()) == 1
    assert all("score" in row for row in learned)


@pytest.mark.parametrize("row", [row for row in ROWS if row["part"] == "cost"], ids=lambda row: row["mixer"])
def test_a_pyramid_that_was_measured_is_built_and_counted_so_today(row):
    widths = tuple(row["channels"])
    options = json.loads(json.dumps(options_of(row["mixer"], widths)))
    assert options == {name: row[name] for name in options}
    assert ledger_of(row["mixer"], widths).macs == row["macs"]


def test_the_hybrid_is_the_one_that_was_measured():
    (row,) = (row for row in ROWS if row["part"] == "cost" and row["mixer"] == "cross_covariance+anchor")
    measured = create_backbone("pyramid_t", **options_of(row["mixer"], tuple(row["channels"])))
    weights = [
        {name: value.shape for name, value in some.state_dict().items()}
        for some in (create_backbone("hybrid_t"), measured)
    ]
    assert weights[0] == weights[1]
