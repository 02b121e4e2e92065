"""The report as a person and as a program reads it."""

from collections import Counter
from pathlib import Path

import cv2
import pytest
from PIL import Image

from effvit_mm.data_tool.findings import Cell, Count, Findings, Report
from effvit_mm.data_tool.presentation import as_json, show
from effvit_mm.data_tool.sheet import write_sheet


@pytest.fixture
def report():
    part = Findings("train", "boxes", num_opened=3, num_pictures=5)
    part.counts += [Count("pictures", Path("data/a.json"), 5, 6), Count("picture files", Path("data/x"), None)]
    for number in range(12):
        part.add_problem("picture", f"data/{number}.jpg", "is torn")
    part.amounts, part.pictures = Counter(cat=3, dog=1), Counter(cat=2, dog=1)
    return Report("own", [part], layout="Expected under data/", refusals=("no classes",))


def test_the_table_says_found_expected_and_missing(report, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    show(report)
    out = capsys.readouterr().out
    for text in ("MISSING", "Expected under data/", "A run would stop at once: no classes", "75.00%", "12 problems"):
        assert text in out
    assert "own: to be mended (1 count other than expected, 1 file missing, 12 problems, a run would stop)" in out
    assert "data/9.jpg  is torn" in out
    assert "data/10.jpg" not in out
    assert "... and 2 more" in out


def test_missing_folders_are_counted_as_such(capsys):
    part = Findings("train", "pixels", counts=[Count("folder", Path(f"data/{name}"), None) for name in "ab"])
    show(Report("own", [part]))
    assert "own: to be mended (2 folders missing)" in capsys.readouterr().out


def test_a_remedy_is_said_once_for_all_problems_and_splits(report, capsys):
    other = Findings("val", "boxes")
    for part in (*report.findings, other):
        part.add_remedy("fetch it again")
        part.add_remedy("fetch it again")
    show(Report("own", [*report.findings, other]))
    assert capsys.readouterr().out.count("fetch it again") == 1
    assert as_json(report)["splits"][0]["problems"]["remedies"] == ["fetch it again"]


@pytest.mark.parametrize(("name", "header"), [("0 to 8 m", "depth"), ("wall", "class")])
def test_ranges_of_depth_are_not_called_classes(capsys, monkeypatch, name, header):
    monkeypatch.setenv("COLUMNS", "120")
    show(Report("own", [Findings("train", "pixels", amounts=Counter({name: 3}))]))
    titles = next(line for line in capsys.readouterr().out.splitlines() if "train pixels" in line)
    assert titles.split()[1] == header


def test_json_holds_the_counts_the_classes_and_the_first_problems(report):
    content = as_json(report)
    assert content["ok"] is False
    (split,) = content["splits"]
    assert split["counts"][0] == dict(what="pictures", where="data/a.json", found=5, expected=6, ok=False)
    assert split["classes"]["cat"] == dict(count=3, share=0.75, pictures=2)
    assert split["problems"]["total"] == 12
    assert len(split["problems"]["first"]) == 10


def test_a_sheet_has_a_row_for_every_four_pictures_and_a_legend(tmp_path):
    picture = Image.new("RGB", (60, 40), "red")
    write_sheet([Cell("one", picture)] * 3, tmp_path / "one_row.png")
    write_sheet([Cell("one", picture)] * 5, tmp_path / "two_rows.png")
    write_sheet([Cell("one", picture, (("car", (1, 2, 3)),))] * 5, tmp_path / "legend.png")
    heights = [len(cv2.imread(str(tmp_path / f"{name}.png"))) for name in ("one_row", "two_rows", "legend")]
    assert heights[1] == 2 * heights[0]
    assert heights[2] > heights[1]
