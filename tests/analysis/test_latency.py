"""What is measured and how it is summed up; no test reads a clock."""

import pytest
import torch
from torch import nn

from effvit_mm.analysis import comparison
from effvit_mm.analysis.energy import EnergyMeter
from effvit_mm.analysis.latency import Setting, make_step, mean_square, measure, summarize
from effvit_mm.analysis.memory import peak_on_cpu
from effvit_mm.analysis.subjects import Subject
from effvit_mm.errors import BadInputError


class Maps(nn.Module):
    """A convolution that remembers how it was called."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.calls = []

    def forward(self, x):
        maps = self.conv(x)
        self.calls.append((self.training, torch.is_grad_enabled(), tuple(x.shape), maps.dtype))
        return maps, maps.mean()


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({}, (False, False, (1, 3, 5, 7), torch.float32)),
        ({"batch": 2, "train": True}, (True, True, (2, 3, 5, 7), torch.float32)),
        ({"dtype": "bfloat16"}, (False, False, (1, 3, 5, 7), torch.bfloat16)),
    ],
)
def test_a_step_runs_the_model_under_its_setting(options, call):
    module = Maps()
    make_step(Subject("maps", module, "maps"), Setting(shape=(5, 7), **options))()
    assert module.calls == [call]


def test_a_training_step_changes_the_weights_and_a_forward_pass_does_not():
    for train in (True, False):
        module = Maps()
        before = module.conv.weight.detach().clone()
        make_step(Subject("maps", module, "maps"), Setting(shape=(5, 7), train=train))()
        assert module.conv.weight.equal(before) is not train


def test_models_take_turns_and_the_first_calls_are_left_out():
    order = []
    steps = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = measure(steps, Setting(warmup=1, repeats=3))
    assert order == list("abcbcacababc")
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_summary_is_median_and_quartiles():
    summary = summarize([0.001, 0.002, 0.003, 0.004, 0.1], batch=2)
    assert summary == pytest.approx(
        {"median_ms": 3, "lower_quartile_ms": 2, "upper_quartile_ms": 4, "pictures_per_second": 2 / 0.003}
    )


def test_the_loss_reaches_every_output():
    a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    assert mean_square({"a": [a], "b": b, "no gradient": torch.ones(2)}).item() == pytest.approx(2.5 + 9)


def test_energy_says_why_there_is_none_on_a_cpu():
    assert "not on 'cpu'" in EnergyMeter("cpu").missing


def test_peak_memory_of_a_cpu_is_at_least_a_map_of_the_model():
    setting = Setting(shape=(512, 640), batch=4)
    largest = 4 * 64 * 256 * 320 * 4 / 1e6
    assert largest < peak_on_cpu("timm:resnet18", setting, threads=1) < 30 * largest


def test_rows_hold_what_is_counted_and_what_is_measured(capsys):
    setting = Setting(shape=(64, 96), batch=2, warmup=0, repeats=2)
    rows = comparison.compare(["anchorformer_t", "timm:resnet18"], setting, memory=False)
    assert [row["params"] for row in rows] == [4_074_130, 11_176_512]
    assert all(row["macs"] > 0 and row["median_ms"] > 0 for row in rows)
    assert rows[0]["provenance"]["figures"] == "measured"
    assert rows[0]["provenance"]["threads"] == 1
    comparison.show(rows)
    shown = capsys.readouterr().out
    for words in ("forward pass, eager, 2 x 3 x 64 x 96", "timm:resnet18", "analytic", "measured", "no joules"):
        assert words in shown


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Setting(dtype="int8"), "dtype 'int8' must be one of float32, bfloat16, float16"),
        (lambda: Setting(batch=0), "^batch=0 must be at least 1"),
        (lambda: Setting(shape=(64, 0)), r"^shape=\(64, 0\) must be at least 1"),
        (lambda: Setting(warmup=-1), "^warmup=-1 must be at least 0"),
        (lambda: comparison.compare(["lit_s", "lit_s"], Setting()), "each model is compared once"),
        (lambda: comparison.compare(["lit_s"], Setting(shape=(8, 8))), "lit_s fails on pictures of"),
    ],
)
def test_a_setting_that_cannot_be_run_is_bad_input(call, message):
    with pytest.raises(BadInputError, match=message):
        call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_bad_input():
    with pytest.raises(BadInputError, match="torch sees no CUDA device"):
        Setting(device="cuda")
