"""The benchmark tool as a user meets it."""

import json


def test_cost_prints_json_and_nothing_else(workplace):
    report = json.loads(workplace.succeeds("python tools/benchmark.py cost anchorformer_t --shape 64 96 --json"))
    assert report["shape"] == [64, 96]
    assert report["params"] == 4_074_130
    assert report["macs"] == sum(line["macs"] for line in report["by_op"].values() if line["in_total"])


def test_cost_of_a_config_is_a_table(workplace):
    out = workplace.succeeds(
        "python tools/benchmark.py cost configs/coco/retinanet_anchorformer.py --shape 96 128 --depth 1 --cfg-options "
        "model.bbox_head.stacked_convs=1"
    )
    assert "whole model in tensor mode" in out
    assert "bbox_head" in out


def test_an_unknown_model_is_answered_in_one_line(workplace):
    done = workplace.run("python tools/benchmark.py cost anchorfromer_s")
    assert done.returncode == 1
    assert done.stderr.startswith("error: anchorfromer_s: unknown backbone 'anchorfromer_s'; did you mean")
    assert len(done.stderr.splitlines()) == 1


def test_models_are_compared_on_any_machine(workplace):
    command = "python tools/benchmark.py compare anchorformer_t timm:resnet18 --shape 64 96 --warmup 0 --repeats 1"
    rows = json.loads(workplace.succeeds(f"{command} --threads 1 --no-memory --json"))
    assert [row["name"] for row in rows] == ["anchorformer_t", "timm:resnet18"]
    assert all(row["median_ms"] > 0 and row["provenance"]["threads"] == 1 for row in rows)


def test_a_budget_that_the_backbone_lacks_is_answered_before_anything_is_evaluated(workplace):
    (workplace.folder / "any.pth").write_bytes(b"")
    done = workplace.run("python tools/benchmark.py sweep configs/coco/retinanet_anchorformer.py any.pth --keep 0.5 1")
    assert done.returncode == 1
    assert "AnchorFormer has no argument 'keep' to sweep" in done.stderr
    assert "Traceback" not in done.stderr
