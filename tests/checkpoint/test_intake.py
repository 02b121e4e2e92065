"""A pre-trained file is taken into a backbone whole: what may differ is told by name, all else is refused."""

import argparse

import pytest
import torch
from cases import SMALL

import effvit_mm
from effvit_mm.backbones import LIT, DeiT, Pyramid
from effvit_mm.checkpoint.intake import PretrainedBackbone, fit_backbone, read_pretrained
from effvit_mm.errors import BadInputError

SMALL_PLAIN = dict(dim=24, depth=3, num_heads=3, mlp_ratio=2)


def classifier(name, **options):
    """Weights of a small classifier, every weight and statistic a draw that is no initialisation's."""
    torch.manual_seed(0)
    state = effvit_mm.create_classifier(name, 5, **options).state_dict()
    return {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in state.items()}


def as_mmpretrain(weights):
    """Name the head as mmpretrain's classifier does, which holds a backbone under the same name."""
    return {
        "meta": {"epoch": 3},
        "state_dict": {key.replace("head.", "head.fc."): value for key, value in weights.items()},
    }


def as_timm(weights):
    return {"arch": "effvit_mm_lit_s", "args": argparse.Namespace(lr=1e-3), "state_dict": weights, "epoch": 3}


@pytest.mark.parametrize("wrap", [as_mmpretrain, as_timm, dict], ids=["mmpretrain", "timm", "bare"])
def test_what_pre_training_wrote_is_taken_into_a_dense_backbone(tmp_path, wrap):
    weights = classifier("lit_s", **SMALL)
    torch.save(wrap(weights), tmp_path / "cls.pth")
    dense = LIT(variant="s", **SMALL)
    PretrainedBackbone(str(tmp_path / "cls.pth"))(dense)
    taken = {key.removeprefix("backbone."): value for key, value in weights.items() if key.startswith("backbone.")}
    assert all(dense.state_dict()[key].equal(value) for key, value in taken.items())
    for level in "012":
        assert dense.norms[level].weight.eq(1).all()
        assert dense.norms[level].bias.eq(0).all()


def test_a_converted_backbone_in_safetensors_is_taken(tmp_path):
    from safetensors.torch import save_file

    source = LIT(variant="ti", **SMALL)
    save_file(source.state_dict(), tmp_path / "dense.safetensors")
    dense = LIT(variant="ti", **SMALL)
    PretrainedBackbone(str(tmp_path / "dense.safetensors"))(dense)
    assert all(dense.state_dict()[key].equal(value) for key, value in source.state_dict().items())


def test_fresh_and_left_out_parts_are_named():
    weights = classifier("lit_ti", **SMALL)
    intake = fit_backbone(LIT(variant="ti", **SMALL, output_norms=(1, 3)), weights, "cls.pth")
    assert intake.fresh == ["norms.1.weight", "norms.1.bias"]
    assert intake.dropped == {
        "head.weight": "not the backbone's",
        "head.bias": "not the backbone's",
        "stages.3.prefix.tokens": "the classifier's token",
        "stages.3.positions.table[:, :1]": "the position of the classifier's token",
    }


def test_the_class_tokens_row_is_taken_off_the_position_table():
    weights = classifier("lit_ti", **SMALL)
    intake = fit_backbone(LIT(variant="ti", **SMALL), weights, "cls.pth")
    table = weights["backbone.stages.3.positions.table"]
    assert intake.weights["stages.3.positions.table"].equal(table[:, 1:])
    assert intake.dropped["norms.3.weight"] == "an output that this network does not have"


def test_a_columnar_net_keeps_its_class_token_and_starts_a_fresh_pyramid():
    weights = classifier("deit_t", **SMALL_PLAIN)
    dense = DeiT(variant="t", **SMALL_PLAIN)
    intake = fit_backbone(dense, weights, "cls.pth")
    assert intake.weights["prefix.tokens"].equal(weights["backbone.prefix.tokens"])
    assert intake.weights["positions.table"].equal(weights["backbone.positions.table"])
    assert intake.fresh
    assert all(name.startswith("pyramid.") for name in intake.fresh)


def test_stages_behind_the_last_output_are_left_out():
    weights = classifier("pyramid_t", **SMALL)
    intake = fit_backbone(Pyramid(**SMALL, out_indices=(0, 2)), weights, "cls.pth")
    assert {name.split(".")[1] for name, why in intake.dropped.items() if why == "behind the last output"} == {"3"}


def test_a_detector_is_taken_by_the_prefix_it_is_given():
    weights = classifier("pyramid_t", **SMALL)
    inside = {f"teacher.{key}": value for key, value in weights.items()}
    for prefix in ("teacher.backbone", "teacher.backbone."):
        intake = fit_backbone(Pyramid(**SMALL), inside, "cls.pth", prefix=prefix)
        assert intake.weights["norms.3.weight"].equal(weights["backbone.norms.3.weight"])
    with pytest.raises(BadInputError, match=r"init_cfg.prefix='student.': none of the \d+ names in cls.pth"):
        fit_backbone(Pyramid(**SMALL), inside, "cls.pth", prefix="student")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("backbone.stages.2.blocks.0.mlp.fc1.bias"), "it lacks stages.2.blocks.0.mlp.fc1.bias"),
        (lambda w: w.update({"backbone.stages.1.odd": torch.zeros(2)}), "the network has no stages.1.odd"),
        (lambda w: w.update({"backbone.stages.1.blocks.7.norm2.bias": torch.zeros(2)}), "no stages.1.blocks.7.norm2.b"),
        (
            lambda w: w.update({"backbone.norms.3.bias": torch.zeros(7)}),
            "norms.3.bias has shape 7, and the network's has 24",
        ),
    ],
    ids=["missing", "unexpected", "deeper", "shape"],
)
def test_any_other_difference_is_refused_by_name(change, message):
    weights = classifier("lit_s", **SMALL)
    change(weights)
    with pytest.raises(BadInputError, match=message):
        fit_backbone(LIT(variant="s", **SMALL), weights, "cls.pth")


@pytest.mark.parametrize(("name", "variant"), [("lit_s", "s"), ("lit_ti", "ti")])
def test_tables_for_other_pictures_are_refused_with_the_option_that_takes_them(name, variant):
    weights = classifier(name, **SMALL, pretrain_img_size=160)
    with pytest.raises(BadInputError, match=r"for pictures of 160 pixels: set model.backbone.pretrain_img_size=160"):
        fit_backbone(LIT(variant=variant, **SMALL), weights, "cls.pth")
    fit_backbone(LIT(variant=variant, **SMALL, pretrain_img_size=160), weights, "cls.pth")


def test_a_released_file_is_sent_to_the_converter():
    released = {"layers.0.blocks.0.norm1.weight": torch.ones(96), "norm.weight": torch.ones(768)}
    with pytest.raises(BadInputError, match=r"convert a released file first, with\s+tools/convert.py lit_s.pth"):
        fit_backbone(LIT(variant="s", **SMALL), released, "lit_s.pth")


def written_by_a_run(file, weights, config):
    """Write a checkpoint as MMEngine's runner does."""
    inside = {f"backbone.{name}": value for name, value in weights.items()}
    torch.save({"meta": {"cfg": config, "epoch": 1}, "message_hub": {}, "state_dict": inside}, file)
    return str(file)


def test_a_run_of_another_backbone_is_answered_with_both_names(tmp_path):
    config = "default_scope = 'mmseg'\nmodel = dict(\n    type='X', backbone=dict(\n        keep=0.5, type='DeiT'))\n"
    file = written_by_a_run(tmp_path / "epoch_1.pth", DeiT(variant="t", **SMALL_PLAIN).state_dict(), config)
    with pytest.raises(BadInputError, match="it holds DeiT, this config has Pyramid: give a checkpoint of Pyramid"):
        fit_backbone(Pyramid(**SMALL), read_pretrained(file), file)


@pytest.mark.parametrize("config", ["model = dict(backbone=dict(type='Pyramid'))", "model = dict(", None])
def test_a_run_that_names_no_other_backbone_is_answered_with_its_options(tmp_path, config):
    file = written_by_a_run(tmp_path / "epoch_1.pth", Pyramid(**SMALL).state_dict(), config)
    with pytest.raises(BadInputError, match=r"give model\.backbone the type, variant and options"):
        fit_backbone(Pyramid(**{**SMALL, "mlp_ratios": (4, 3, 2, 2)}), read_pretrained(file), file)


def test_what_the_converter_noted_beside_a_file_is_repeated(tmp_path):
    weights = classifier("lit_s", **SMALL)
    (tmp_path / "dense.json").write_text('{"overrides": {"output_norms": [1, 2, 3]}}')
    weights.pop("backbone.stages.0.merger.proj.bias")
    with pytest.raises(BadInputError, match=r"dense.json notes what these weights need: .*output_norms"):
        fit_backbone(LIT(variant="s", **SMALL), weights, str(tmp_path / "dense.pth"))


def test_a_missing_file_is_named():
    with pytest.raises(BadInputError, match=r"nowhere\.pth does not exist"):
        read_pretrained("nowhere.pth")


def test_init_weights_takes_the_file_behind_every_other_initialisation(tmp_path):
    weights = classifier("lit_s", **SMALL)
    torch.save(weights, tmp_path / "cls.pth")
    file = dict(type="Pretrained", checkpoint=str(tmp_path / "cls.pth"))
    dense = LIT(variant="s", **SMALL, init_cfg=[file, dict(type="Constant", layer="LayerNorm", val=3.0)])
    dense.init_weights()
    assert dense.norms["3"].weight.equal(weights["backbone.norms.3.weight"])
    assert dense.norms["0"].weight.eq(3).all()


def test_init_weights_refuses_what_mmengine_would_load_in_part(tmp_path):
    torch.save({"norms.3.weight": torch.ones(24)}, tmp_path / "part.pth")
    dense = LIT(variant="s", **SMALL, init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "part.pth")))
    with pytest.raises(BadInputError, match="does not fit the backbone LIT"):
        dense.init_weights()


def test_the_log_says_what_is_fresh_and_what_was_left_out(tmp_path, monkeypatch):
    weights = classifier("lit_ti", **SMALL)
    torch.save(weights, tmp_path / "cls.pth")
    said = []
    monkeypatch.setattr("effvit_mm.checkpoint.intake.print_log", lambda line, logger: said.append(line))
    PretrainedBackbone(str(tmp_path / "cls.pth"))(LIT(variant="ti", **SMALL, output_norms=(1, 3)))
    for words in ("fresh, not in the file: norms.1.weight", "not the backbone's: head.bias", "the classifier's token"):
        assert words in said[0]
