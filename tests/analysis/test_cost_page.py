"""The table of docs/cost.md is what is counted."""

import re

import pytest
from cases import ROOT

from effvit_mm.analysis.cost import cost_of

PAGE = (ROOT / "docs/cost.md").read_text(encoding="utf-8")
ROWS = {
    name: cells.split(" | ")
    for name, cells in re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.split("## Table")[1], flags=re.M)
}


def test_the_table_has_our_backbones():
    assert {"anchorformer_s", "lit_s", "pyramid_s"} <= set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_what_is_counted(name):
    parameters, _, _, macs, activations = ROWS[name]
    ledger, _ = cost_of(name, (800, 1280))
    assert f"{ledger.params / 1e6:.2f}" == parameters
    assert f"{ledger.macs / 1e9:.2f}" == macs
    assert f"{ledger.activation_bytes / 1e9:.1f}" == activations
