"""Models by name, and what the cost command returns."""

import subprocess
import sys

import pytest

from effvit_mm.analysis.comparison import compare
from effvit_mm.analysis.cost import cost_of, show
from effvit_mm.analysis.latency import Setting
from effvit_mm.analysis.subjects import load_subject
from effvit_mm.errors import BadInputError


def test_a_backbone_of_ours_takes_options_in_brackets():
    ledger, report = cost_of("anchorformer_t(num_anchors=7, out_indices=(1, 2))", (64, 96), batch=2)
    assert report["shape"] == [64, 96]
    assert report["macs"] == ledger.macs < cost_of("anchorformer_t", (64, 96), batch=2)[1]["macs"]
    assert report["counted"] == "backbone"


@pytest.mark.parametrize(
    ("name", "shape"),
    [("timm:vit_tiny_patch16_224", (64, 96)), ("mmdet:ResNet(depth=18)", (64, 96)), ("timm:resnet18", (40, 72))],
)
def test_peers_are_built_by_name_for_any_size(name, shape):
    _, report = cost_of(name, shape)
    assert report["macs"] > 0
    assert report["params"] > 1e6


def test_a_detectors_config_is_counted_whole():
    config = "configs/coco/retinanet_anchorformer.py"
    _, report = cost_of(config, (96, 128))
    parts = {part: report["by_layer"][part]["macs"] for part in ("backbone", "neck", "bbox_head")}
    assert min(parts.values()) > 0
    assert sum(parts.values()) == report["macs"]
    assert report["counted"].startswith("whole model in tensor mode")
    less = cost_of(config, (96, 128), options={"model.bbox_head.stacked_convs": 1})[1]
    assert less["by_layer"]["bbox_head"]["macs"] < parts["bbox_head"]


def test_lines_and_layers_add_up_to_the_total():
    _, report = cost_of("lit_s", (64, 96))
    assert sum(line["macs"] for line in report["by_op"].values() if line["in_total"]) == report["macs"]
    assert sum(line["bytes_written"] for line in report["by_op"].values()) == report["activation_bytes"]
    assert report["by_layer"][""]["macs"] == report["macs"]
    assert report["flops"] == 2 * report["macs"]
    assert report["provenance"]["figures"] == "analytic"


def test_the_table_shows_operators_and_layers(capsys):
    ledger, report = cost_of("anchorformer_t", (64, 96))
    show(ledger, report, depth=1, flops=True)
    shown = capsys.readouterr().out
    assert f"{2 * ledger.macs / 1e9:.2f} GFLOPs" in shown
    for words in ("linear", "depth-wise convolution", "attention", "stages", "analytic"):
        assert words in shown


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("anchorfromer_s", "did you mean 'anchorformer_s'"),
        ("zzz", "a model is a backbone of ours"),
        ("tim:resnet50", "unknown library 'tim' .*; did you mean 'timm'"),
        ("timm:resnet5", "did you mean 'resnet50'"),
        ("mmdet:ResNt", "mmdet has no 'ResNt'; did you mean 'ResNet'"),
        ("mmdet:ResNet", "depth"),
        ("anchorformer_s(7)", "not of the form key=value"),
        ("configs/none.py", "configs/none.py does not exist"),
        ("setup.py", "has no 'model'|cannot be read"),
    ],
)
def test_a_name_that_stands_for_nothing_is_answered_with_its_remedy(name, message):
    with pytest.raises(BadInputError, match=message):
        load_subject(name, (64, 96))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cost_of("lit_ti", (64, 96), batch=-1), "batch=-1 and shape=.* must be at least 1"),
        (lambda: cost_of("lit_ti", (0, 96)), r"shape=\(0, 96\) must be at least 1"),
        (
            lambda: cost_of("lit_ti(use_rel_pos=False)", (64, 96), options={"model.neck": 1}),
            r"--cfg-options model.neck: these change a config, and lit_ti\(.*\) is none; .* lit_ti\(option=value\)",
        ),
        (
            lambda: cost_of("configs/coco/retinanet_lit_ti.py", (64, 96), options={"modle.backbone.variant": "s"}),
            "--cfg-options modle.backbone.variant: the config has no 'modle'; did you mean 'model'",
        ),
        (
            lambda: compare(["lit_ti", "timm:resnet18"], Setting(), options={"model.neck": 1}),
            "and lit_ti, timm:resnet18 is none",
        ),
    ],
)
def test_what_would_be_ignored_or_cannot_be_counted_is_refused(call, message):
    with pytest.raises(BadInputError, match=message):
        call()


def test_a_picture_that_the_model_does_not_take_is_bad_input():
    with pytest.raises(BadInputError, match=r"anchorformer_t fails on pictures of 20 x 40 .* largest stride 32"):
        cost_of("anchorformer_t", (20, 40))


def test_importing_the_package_leaves_the_analysis_out():
    command = "import sys, effvit_mm; sys.exit(any(name.startswith('effvit_mm.analysis') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", command], timeout=120, check=False).returncode == 0
