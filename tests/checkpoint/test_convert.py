"""Released weights become ours: same numbers, every name accounted for, nothing taken that does not fit."""

import argparse
import sys
import types
from collections import OrderedDict

import pytest
import torch
from reference.lit import PvtLike, SwinLike

import effvit_mm
from effvit_mm.backbones import LIT
from effvit_mm.checkpoint import ConversionError, convert_file, convert_state_dict
from effvit_mm.errors import BadInputError

# The sizes of the released networks decide the names' numbers; the blocks are as few as the names allow to tell apart.
SIZES = {
    "ti": ((64, 128, 320, 512), (3, 4, 6, 3), (1, 2, 5, 8), (8, 8, 4, 4)),
    "s": ((96, 192, 384, 768), (2, 2, 6, 2), (3, 6, 12, 24), (4, 4, 4, 4)),
    "m": ((96, 192, 384, 768), (2, 2, 18, 2), (3, 6, 12, 24), (4, 4, 4, 4)),
    "b": ((128, 256, 512, 1024), (2, 2, 18, 2), (4, 8, 16, 32), (4, 4, 4, 4)),
}


def official(variant, *, seed=0, **options):
    """Build a network under the official names, every weight and statistic a draw that is no initialisation's."""
    torch.manual_seed(seed)
    network = (PvtLike if variant == "ti" else SwinLike)(*SIZES[variant], **options)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.rand(parameter.shape) * 0.4 + (0.8 if "norm" in name else -0.2))
        for name, buffer in network.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape) + (0.5 if name.endswith("var") else -0.5))
    return network.eval()


def assert_same(ours, theirs):
    error = (ours - theirs).abs().max() / theirs.std()
    assert error < 1e-4, f"differs by {error:.1e} of a standard deviation"


def pictures(height, width):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variant", sorted(SIZES))
@torch.no_grad()
def test_a_converted_classifier_scores_as_the_official_one(variant):
    network = official(variant)
    ours = effvit_mm.create_classifier(f"lit_{variant}").eval()
    ours.load_state_dict(convert_state_dict(network.state_dict(), f"lit_{variant}"), strict=True)
    assert_same(ours(pictures(224, 224)), network(pictures(224, 224)))


@pytest.mark.parametrize(("variant", "height", "width"), [("ti", 192, 320), ("s", 96, 160)])
@torch.no_grad()
def test_a_converted_backbone_emits_the_official_stage_maps(variant, height, width):
    network = official(variant)
    weights = convert_state_dict(network.state_dict(), f"lit_{variant}", task="backbone")
    ours = effvit_mm.create_backbone(f"lit_{variant}", **weights.overrides).eval()
    ours.load_state_dict(weights, strict=True)
    maps = network.dense(pictures(height, width))
    if variant == "s":  # Fresh norms stand on the outputs.
        maps = [torch.nn.functional.layer_norm(m.movedim(1, -1), m.shape[1:2]).movedim(-1, 1) for m in maps]
    for fmap, theirs in zip(ours(pictures(height, width)), maps, strict=True):
        assert_same(fmap, theirs)


@pytest.mark.parametrize(("img_size", "norms"), [(800, (1, 2, 3)), (512, (0, 1, 2, 3))])
@torch.no_grad()
def test_dense_files_say_what_the_backbone_needs(img_size, norms):
    network = official("s", img_size=img_size, dense_norms=norms)
    file = {"state_dict": {f"backbone.{key}": value for key, value in network.state_dict().items()}}
    file["state_dict"]["neck.lateral_convs.0.conv.weight"] = torch.zeros(2)
    weights = convert_state_dict(file, "lit_s", task="backbone")
    expected = {"pretrain_img_size": img_size} | ({"output_norms": norms} if norms[0] else {})
    assert weights.overrides == expected
    assert weights.report.fresh == []
    assert weights.report.dropped["neck.lateral_convs.0.conv.weight"] == "not the backbone's"
    ours = LIT(variant="s", **weights.overrides).eval()
    ours.load_state_dict(weights, strict=True)
    for fmap, theirs in zip(ours(pictures(96, 160)), network.dense(pictures(96, 160)), strict=True):
        assert_same(fmap, theirs)


def test_dense_files_of_the_small_one_convert_too():
    network = official("ti")
    kept = {k: v for k, v in network.state_dict().items() if not k.startswith(("head.", "norm."))}
    weights = convert_state_dict({f"backbone.{key}": value for key, value in kept.items()}, "lit_ti", task="backbone")
    assert weights.overrides == {}
    effvit_mm.create_backbone("lit_ti").load_state_dict(weights, strict=True)


def test_the_report_accounts_for_every_name():
    source = official("s").state_dict()
    report = convert_state_dict(source, "lit_s", task="backbone").report
    assert set(report.matched.values()) | set(report.dropped) == set(source)
    assert not set(report.matched.values()) & set(report.dropped)
    assert report.fresh == [f"norms.{i}.{leaf}" for i in range(4) for leaf in ("weight", "bias")]
    assert set(report.dropped.values()) == {
        "an index that is computed here",
        "the classifier's head",
        "the classifier's norm; dense outputs have norms of their own",
    }


def test_fresh_norms_start_as_norms_do():
    weights = convert_state_dict(official("s").state_dict(), "lit_s", task="backbone")
    for i, channels in enumerate((96, 192, 384, 768)):
        assert weights[f"norms.{i}.weight"].equal(torch.ones(channels))
        assert weights[f"norms.{i}.bias"].equal(torch.zeros(channels))


def test_a_head_for_other_classes_is_taken_as_it_is():
    weights = convert_state_dict(official("ti", num_classes=7).state_dict(), "lit_ti")
    assert weights.overrides == {"num_classes": 7}
    effvit_mm.create_classifier("lit_ti", **weights.overrides).load_state_dict(weights, strict=True)


NUM_BATCHES = "num_batches_tracked"


def changed(source, *, drop=(), **added):
    return {key: value for key, value in source.items() if key not in drop} | added


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: changed(s, drop=["layers.2.blocks.3.mlp.fc1.bias"]),
            "lacks backbone.stages.2.blocks.3.mlp.fc1.bias",
        ),
        (lambda s: changed(s, strange=torch.zeros(2)), "strange no name of this format"),
        (lambda s: s | {"layers.0.blocks.0.norm2.bias": torch.zeros(5)}, "has shape 5, and .* has 96"),
        (lambda s: s | {"layers.2.blocks.6.norm2.bias": torch.zeros(384)}, "the network has no backbone.stages.2.bl"),
        (lambda s: {f"backbone.{key}": value for key, value in s.items() if "head" not in key}, "lacks head.weight"),
        (
            lambda s: s | {"module.norm.bias": s["norm.bias"] + 1},
            "module.norm.bias is norm.bias, which is there",
        ),
        (lambda s: s | {7: torch.zeros(2)}, "7 is a name of type int, not text"),
        (lambda s: s | {"\ud800\n": torch.zeros(2)}, r"'\\ud800\\n' no name of this format"),
        (lambda s: s | {"norm.bias": [0.0]}, r"lacks backbone.norms.3.bias\n  norm.bias is a list, not a tensor"),
        (lambda s: s | {"norm.bias": s["norm.bias"].to_sparse()}, "norm.bias is a tensor of layout torch.sparse_coo"),
        (lambda s: s | {"norm.bias": s["norm.bias"].long()}, "norm.bias is of torch.int64, and .* of torch.float32"),
        (lambda s: s | {"norm.bias": s["norm.bias"] * torch.nan}, "norm.bias holds values that are not finite"),
        (lambda s: s | {"norm.bias": s["norm.bias"].double() + 1e300}, "norm.bias holds values that are not finite"),
        (
            lambda s: s | {f"layers.0.downsample.norm_layer.{NUM_BATCHES}": torch.tensor(0.5)},
            "num_batches_tracked holds fractions",
        ),
        (
            lambda s: s | {"layers.2.blocks.0.mixer.proj.bias": s["layers.2.blocks.0.attn.proj.bias"]},
            "another name of the source has its place",
        ),
        (lambda s: s | {"head.weight": torch.tensor(1.0)}, r"head.weight has shape \(\), and head.weight has 1000x768"),
        (lambda s: s | {"norm7.weight": torch.ones(768)}, "norm7.weight no name of this format"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ConversionError, match=message) as caught:
        convert_state_dict(change(official("s").state_dict()), "lit_s")
    assert not caught.value.report.fits


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_file_of_this_package_is_answered_with_its_use(prefix):
    own = {prefix + name: value for name, value in effvit_mm.create_backbone("deit_t").state_dict().items()}
    with pytest.raises(ConversionError, match=r"this package's own: .* give it as it is to init_cfg or load_from"):
        convert_state_dict(own, "deit_t", task="backbone")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convert_state_dict({}, "lit_x"), "'lit_x'; did you mean 'lit_"),
        (lambda: convert_state_dict({}, "pyramid_t"), "no released weights are known for 'pyramid_t'"),
        (lambda: convert_state_dict({"epoch": 3}, "lit_s"), r"no weights by name \(only epoch\)"),
        (lambda: convert_state_dict({"model": {}}, "lit_s"), r"no weights by name \(it is empty\)"),
        (
            lambda: convert_state_dict({"pos_embed1": torch.ones(1, 1, 64)}, "lit_ti"),
            "pretrain_img_size=4, which",
        ),
        (lambda: convert_state_dict({}, "lit_s", task="detector"), "must be 'classifier' or 'backbone'"),
        (lambda: convert_file("none.pth", "lit_s"), "none.pth does not exist"),
    ],
)
def test_odd_arguments_are_refused(call, message):
    with pytest.raises(BadInputError, match=message):
        call()


def test_other_variants_do_not_pass_for_one_another():
    with pytest.raises(ConversionError, match=r"the network has no backbone\.stages.2.blocks"):
        convert_state_dict(official("m").state_dict(), "lit_s")


class Unknown:
    def __reduce__(self):
        return print, ("code ran",)


def test_options_stored_beside_official_weights_are_read_as_plain_values(tmp_path, monkeypatch):
    class CfgNode(dict):
        """As yacs has it: a dict with attributes."""

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", types.SimpleNamespace(CfgNode=CfgNode))
    node = CfgNode(MODEL=CfgNode(NAME="lit"))
    node.frozen = True
    file, weights = tmp_path / "lit_ti.pth", official("ti").state_dict()
    torch.save({"model": weights, "config": node, "args": argparse.Namespace(lr=1e-3), "epoch": 299}, file)
    monkeypatch.delitem(sys.modules, "yacs.config")
    assert len(convert_file(file, "lit_ti")) == len(weights)


def test_code_beside_weights_is_refused_and_not_run(tmp_path, capsys):
    file = tmp_path / "lit_ti.pth"
    torch.save({"model": official("ti").state_dict(), "args": Unknown()}, file)
    with pytest.raises(BadInputError, match="refused"):
        convert_file(file, "lit_ti")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("precision", [torch.float16, torch.float64])
def test_weights_come_in_the_networks_precision(precision):
    source = {key: value.to(precision) for key, value in official("ti").state_dict().items()}
    weights = convert_state_dict(source, "lit_ti")
    own = effvit_mm.create_classifier("lit_ti").state_dict()
    assert {key: value.dtype for key, value in weights.items()} == {key: value.dtype for key, value in own.items()}


def test_what_a_pickled_dict_puts_before_its_methods_is_not_called():
    source = OrderedDict(official("ti").state_dict())
    vars(source).update(items=7, get=None, keys=[])
    assert len(convert_state_dict({"model": source}, "lit_ti")) == len(official("ti").state_dict())


def test_a_file_of_names_without_values_is_refused(tmp_path):
    file = tmp_path / "lit_ti.pth"
    torch.save({key: value.to("meta") for key, value in official("ti").state_dict().items()}, file)
    with pytest.raises(BadInputError, match="holds no values for"):
        convert_file(file, "lit_ti")
