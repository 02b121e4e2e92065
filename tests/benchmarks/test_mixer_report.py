"""The tables, the page and the plot of mixers, from rows made by hand."""

import pytest
from mixer_report import Found, apart, scatter, tables_of, write_markdown
from rich.console import Console

AT = "1x512x512"
MEASURED = dict(device="cpu", dtype="float32", figures="measured", torch="2.15", threads=2)
MEASURED |= dict(date="2026-11-21", device_name="a processor")


def cost(mixer, channels, macs, ratio, *, matched=True):
    row = dict(part="cost", mixer=mixer, channels=channels, parameters=5_000_000, macs=macs)
    return {**row, "ratio": ratio, "matched": matched}


def latency(mixer, ratio, quartiles):
    row = dict(part="latency", mixer=mixer, on=AT, ratio=ratio, quartiles=quartiles, reference_ms=250.0)
    return {**row, **MEASURED}


def learned(part, mixer, seed, score):
    macs = 3e8 if mixer == "self" else 2e8
    return dict(part=part, mixer=mixer, on=str(seed), score=score, macs=macs, **MEASURED)


ROWS = [
    cost("spatial_reduction", [32, 64, 160, 256], 4.82e9, 1.0),
    cost("self", [32, 64, 160, 256], 43.79e9, 9.09, matched=False),
    cost("window|window|anchor|self", [32, 72, 192, 288], 4.9e9, 1.02),
    latency("spatial_reduction", 1.0, [1.0, 1.0]),
    latency("self", 7.25, [7.0, 8.0]),
    latency("window|window|anchor|self", 0.75, [0.5, 1.0]),
    dict(part="memory", mixer="self", on=AT, stopped="too large", **MEASURED),
    learned("toy", "self", 0, 61.0),
    learned("toy", "self", 1, 63.0),
    learned("toy", "spatial_reduction", 0, 60.5),
    learned("cifar", "spatial_reduction", 0, 40.0),
    dict(part="layer", mixer="self", on="32 64", tokens=[1024], time_exponent=1.94, memory_exponent=1.0, **MEASURED),
]


def test_the_page_has_a_row_for_each_mixer_in_the_order_of_the_taxonomy_and_hybrids_behind(tmp_path):
    write_markdown(Found(ROWS), tmp_path / "mixers.md")
    lines = (tmp_path / "mixers.md").read_text().splitlines()
    # Toy scenes come before CIFAR-10, which `self` did not learn.
    assert lines[2] == "| `self` | 32, 64, 160, 256 | 5.00 M | 43.79 G | 9.09, not matched | 1.50 |  |"
    assert [line.split("`")[1] for line in lines[2:5]] == ["self", "spatial_reduction", "window, window, anchor, self"]
    heads, cells = ([cell.strip() for cell in lines[place].strip("|").split("|")] for place in (6, 8))
    assert dict(zip(heads, cells, strict=True)) == {
        "mixer": "`self`",
        "time, 1x512x512, over 0.25 s": "7.25",
        "peak MB, 1x512x512": "not run",
        "layer: time ~ N^": "1.94",
        "memory ~ N^": "1.00",
        "toy scenes, mIoU, %": "62.0 ±1.0",
        "CIFAR-10, accuracy, %": "",
    }
    assert "widest quartiles are 0.50 to 1.00 (`window, window, anchor, self` on 1x512x512)" in "\n".join(lines)
    assert lines[-1] == "- memory of `self` on 1x512x512: too large"


def test_what_nobody_measured_has_no_column():
    console = Console(width=200)
    with console.capture() as text:
        console.print(*tables_of(Found(ROWS[:3])))
    assert "multiply-adds" in text.get()
    assert "peak" not in text.get()


def test_the_plot_shows_the_tasks_that_two_mixers_learned(tmp_path):
    assert scatter(Found(ROWS), tmp_path / "mixers.png") == f"plot: {tmp_path / 'mixers.png'}"
    assert (tmp_path / "mixers.png").stat().st_size > 10_000


def test_a_plot_without_points_says_what_it_needs(tmp_path):
    assert "latency on 1x512x512 and scores of two mixers" in scatter(Found(ROWS[:6]), tmp_path / "mixers.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5, 0.9], [0.45, 0.55, 0.9]),
        ([0.3, 0.5, 0.52, 0.59], [0.3, 0.437, 0.537, 0.637]),
        ([0.0, 0.02, 0.98, 1.0], [0.0, 0.1, 0.9, 1.0]),
    ],
)
def test_labels_stand_apart_and_inside(heights, expected):
    assert apart(heights, 0.1) == pytest.approx(expected, abs=1e-3)
