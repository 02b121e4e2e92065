"""The growth of a single layer: its exponents, and where it stops."""

import pytest
import torch
from benchmarks.single_layer import Call, calls_on, exponent, measured_growth


def growing(*macs, num_bytes=1000):
    """Calls of some work, each with a buffer."""
    return [Call(10 * i, lambda: torch.empty(num_bytes, dtype=torch.uint8), work) for i, work in enumerate(macs, 1)]


def limits(**changes):
    return {"device": "cpu", "repeats": 1, "most_seconds": 60.0, "most_gigabytes": 8.0, **changes}


def test_the_exponent_is_the_slope_of_the_logarithms():
    sizes = [16, 64, 256]
    assert exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_a_single_point_has_no_exponent():
    assert exponent([16], [1.0]) is None


def test_a_grid_that_would_take_too_long_is_not_run_nor_any_larger():
    row = measured_growth(growing(1, 2, 10**15, 10**15), **limits())
    assert row["tokens"] == [10, 20]
    assert row["stopped"].startswith("30 tokens would take up to")


def test_a_grid_that_would_need_too_much_memory_is_not_run():
    row = measured_growth(growing(1, 4), **limits(most_seconds=1e9, most_gigabytes=3e-6))
    assert row["tokens"] == [10]
    assert row["stopped"] == "20 tokens would take up to 0 GB"


def test_the_peak_is_what_a_call_holds_at_one_time():
    row = measured_growth(growing(1, 1, num_bytes=4096), **limits())
    assert row["bytes"] == [4096, 4096]


def test_a_layer_without_multiply_adds_has_work_too():
    small, large = calls_on("pooling", (4, 2), "cpu", torch.float32)
    assert (small.num_tokens, large.num_tokens) == (4, 16)
    assert large.macs == 4 * small.macs > 0
