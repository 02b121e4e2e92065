"""The tables of docs/measurements.md are those of the rows in docs/rows."""

import pytest
from cases import ROOT
from matrix_cells import BACKBONES, TASKS
from task_matrix import cell, rows_in, table_of

PAGE = (ROOT / "docs/measurements.md").read_text(encoding="utf-8").splitlines()
ROWS, TIMES = (rows_in(ROOT / f"docs/rows/task_matrix{which}.jsonl") for which in ("", "_times"))


@pytest.mark.parametrize("real", [False, True])
def test_the_page_shows_the_rows(real):
    labels = [TASKS[task].label for task in TASKS if TASKS[task].real == real]
    start = PAGE.index(f"| backbone | {' | '.join(labels)} |")
    shown = [line.strip("| ").split(" | ") for line in PAGE[start + 2 : PAGE.index("", start)]]
    table = table_of(ROWS, TIMES, real=real)
    assert shown == [list(cells) for cells in zip(*(column.cells for column in table.columns), strict=True)]


def test_a_cell_has_the_mean_of_the_seeds_half_their_range_time_over_the_peers_and_memory():
    def row(seed, rmse, gigabytes):
        figures = {"depth/rmse": rmse, "depth/delta1": 0.5}
        return dict(task="depth", backbone="lit_ti", seed=seed, metrics=figures, gigabytes=gigabytes)

    times = [
        dict(task="depth", backbone="lit_ti", seconds=0.3),
        dict(task="depth", backbone="ResNet-18", seconds=0.2),
        dict(task="cls", backbone="ResNet-18", seconds=9.0),
    ]
    rows = [row(0, 0.7, 1.8)]
    assert cell(rows, times, "depth", "lit_ti") == "0.700 / 0.500 · 1.50 · 1.8"
    assert cell(rows, [], "depth", "lit_ti") == "0.700 / 0.500 · - · 1.8"
    rows.append(row(1, 0.8, 2.0))
    assert cell(rows, times, "depth", "lit_ti") == "0.750 ±0.050 / 0.500 ±0.000 · 1.50 · 1.9"
    assert cell(rows, times, "cls", "lit_ti") == "-"


def test_every_task_has_ours_two_stock_backbones_and_on_toy_scenes_the_yardstick():
    for name, task in TASKS.items():
        there = {row["backbone"] for row in ROWS if row["task"] == name}
        assert {"anchorformer_t", "tosa_deit_t", "lit_ti", "ResNet-18", "PVTv2-B0"} <= there <= set(BACKBONES), name
        assert task.real or "pyramid_t" in there, name
