"""Released columnar weights become ours: AnchorFormer's official layout, and DeiT's, which is timm's."""

import pytest
import timm
import torch
from reference.anchor_deit import AnchorDeiT as Official

import effvit_mm
from effvit_mm.checkpoint import ConversionError, convert_state_dict
from effvit_mm.errors import BadInputError

SIZES = {"t": (192, 3), "s": (384, 6), "b": (768, 12), "b_384": (768, 12)}
TIMM = {
    "t": "deit_tiny_patch16_224",
    "s": "deit_small_patch16_224",
    "b": "deit_base_patch16_224",
    "b_384": "deit_base_patch16_384",
}


def randomized(network, *, seed=0):
    """Make every weight a draw that is no initialisation's."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.rand(parameter.shape) * 0.4 + (0.8 if "norm" in name else -0.2))
            elif "token" in name or "pos_embed" in name:
                parameter.normal_()
    return network.eval()


def official(variant="t", *, spread=1.0, **options):
    network = randomized(Official(*SIZES[variant], **options))
    for block in network.blocks:
        block.attn.dist_anchor_B.weight.data *= spread
    return network


def pictures(height, width):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_same(ours, theirs):
    error = (ours - theirs).abs().max() / theirs.std()
    assert error < 2e-5, f"differs by {error:.1e} of a standard deviation"


def converted(source, name, task="classifier"):
    weights = convert_state_dict(source.state_dict(), name, task=task)
    create = effvit_mm.create_classifier if task == "classifier" else effvit_mm.create_backbone
    ours = create(name, **weights.overrides).eval()
    ours.load_state_dict(weights, strict=True)
    return ours, weights


@pytest.mark.parametrize("spread", [1, 30])
@torch.no_grad()
def test_a_converted_classifier_scores_as_the_official_one(spread):
    network = official(spread=spread)
    ours, _ = converted(network, "anchor_deit_t")
    assert_same(ours(pictures(224, 224)), network(pictures(224, 224)))
    assert_same(ours.scores(pictures(224, 224)), torch.stack(network.pair(pictures(224, 224)), dim=1))


@pytest.mark.parametrize("task", ["classifier", "backbone"])
@pytest.mark.parametrize("spread", [1, 30])
@torch.no_grad()
def test_every_block_emits_what_the_official_one_does(task, spread):
    network = official(spread=spread)
    ours, _ = converted(network, "anchor_deit_t", task)
    backbone = ours.backbone if task == "classifier" else ours
    blocks = backbone.run(*backbone.embed(pictures(224, 224)))
    for tokens, theirs in zip(blocks, network.block_outputs(pictures(224, 224)), strict=True):
        assert_same(tokens, theirs)


@torch.no_grad()
def test_a_converted_backbone_emits_the_normed_map_at_stride_16():
    network = official()
    ours, _ = converted(network, "anchor_deit_t", "backbone")
    theirs = network.norm(network.block_outputs(pictures(224, 224))[-1])[:, 2:]
    assert_same(ours(pictures(224, 224))[2].flatten(2).transpose(1, 2), theirs)


@pytest.mark.parametrize("variant", sorted(SIZES))
@pytest.mark.parametrize("task", ["classifier", "backbone"])
def test_every_released_size_has_every_name_and_shape(variant, task):
    with torch.device("meta"):
        network = Official(*SIZES[variant], img_size=384 if variant == "b_384" else 224)
    assert convert_state_dict(network.state_dict(), f"anchor_deit_{variant}", task=task).overrides == {}


@pytest.mark.parametrize(
    ("options", "overrides"),
    [
        ({"num_classes": 7}, {"num_classes": 7}),
        ({"anchors": 25}, {"num_anchors": 25}),
        ({"img_size": 320}, {"pretrain_img_size": 320}),
    ],
)
def test_what_the_weights_need_beside_the_variant_is_read_off_them(options, overrides):
    assert converted(official(**options), "anchor_deit_t")[1].overrides == overrides


def test_the_report_accounts_for_every_name():
    source = official().state_dict()
    report = convert_state_dict(source, "anchor_deit_t", task="backbone").report
    matched = {name for names in report.matched.values() for name in names.split(" + ")}
    assert matched | set(report.dropped) == set(source)
    assert set(report.dropped) == {f"head{kind}.{leaf}" for kind in ("", "_dist") for leaf in ("weight", "bias")}
    assert report.matched["prefix.tokens"] == "cls_token + dist_token"


def test_the_pyramid_is_fresh_and_the_same_in_each_run_whatever_the_seed():
    source = official().state_dict()
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        runs.append(convert_state_dict(source, "anchor_deit_t", task="backbone"))
    assert {name.split(".")[0] for name in runs[0].report.fresh} == {"pyramid"}
    for name in runs[0].report.fresh:
        assert runs[0][name].equal(runs[1][name])
        assert runs[0][name].isfinite().all()


def test_converting_leaves_the_random_numbers_of_the_caller_alone():
    source = official().state_dict()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    convert_state_dict(source, "anchor_deit_t", task="backbone")
    assert torch.rand(2).equal(expected)


@torch.no_grad()
def test_deit_scores_as_timms_with_the_same_weights():
    network = randomized(timm.create_model(TIMM["t"]))
    ours, weights = converted(network, "deit_t")
    assert weights.overrides == {}
    assert_same(ours(pictures(224, 224)), network(pictures(224, 224)))


@torch.no_grad()
def test_every_block_of_deit_emits_what_timms_does():
    network = randomized(timm.create_model(TIMM["t"]))
    backbone = converted(network, "deit_t", "backbone")[0]
    theirs = network.get_intermediate_layers(pictures(224, 224), n=12, return_prefix_tokens=True)
    ours = backbone.run(*backbone.embed(pictures(224, 224)))
    for tokens, (places, front) in zip(ours, theirs, strict=True):
        assert_same(tokens, torch.cat([front, places], dim=1))


@torch.no_grad()
def test_distilled_deit_scores_as_timms_with_the_same_weights():
    network = randomized(timm.create_model("deit_tiny_distilled_patch16_224"))
    ours, weights = converted(network, "deit_t")
    assert weights.overrides == {"num_prefix": 2}
    assert_same(ours(pictures(224, 224)), network(pictures(224, 224)))


@pytest.mark.parametrize(("height", "width"), [(160, 320), (224, 352)])
@torch.no_grad()
def test_deit_reads_its_positions_at_other_sizes_as_timm_does(height, width):
    network = randomized(timm.create_model(TIMM["t"], dynamic_img_size=True))
    ours, _ = converted(network, "deit_t")
    assert_same(ours(pictures(height, width)), network(pictures(height, width)))


@pytest.mark.parametrize("variant", ["s", "b", "b_384"])
def test_every_size_of_deit_has_timms_names_and_shapes(variant):
    with torch.device("meta"):
        network = timm.create_model(TIMM[variant])
    assert convert_state_dict(network.state_dict(), f"deit_{variant}").overrides == {}


def test_tapped_norms_of_a_deep_block_are_the_released_one():
    network = randomized(timm.create_model(TIMM["t"]))
    weights = convert_state_dict(network.state_dict(), "deit_t", task="backbone")
    assert weights["norms.11.weight"].equal(network.norm.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("dist_token"), "pos_embed has shape 1x198x192, and .* has 1x197x192"),
        (lambda s: s.update(dist_token=torch.zeros(1, 1, 96)), "dist_token has shape 1x1x96; tokens are 1x1xC"),
        (lambda s: s.update(cls_token=torch.tensor(1.0)), r"cls_token has shape \(\); tokens are 1x1xC"),
        (lambda s: s.update({"head.weight": torch.tensor(1.0)}), r"head.weight has shape \(\), and .* has 1000x192"),
        (lambda s: s.pop("blocks.3.attn.dist_anchor_B.weight"), "lacks backbone.blocks.3.mixer.anchors"),
        (lambda s: s.update(strange=torch.zeros(2)), "strange no name of this format"),
        (lambda s: s.update({"blocks.0.attn.qkv.weight": torch.zeros(2)}), "no backbone.blocks.0.attn.qkv.weight"),
        (lambda s: s.update({"blocks.12.norm1.bias": torch.zeros(192)}), "the network has no backbone.blocks.12"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    source = official().state_dict()
    change(source)
    with pytest.raises(ConversionError, match=message):
        convert_state_dict(source, "anchor_deit_t")


def test_dense_attention_does_not_pass_for_anchors():
    with pytest.raises(BadInputError, match=r"weights of DeiT, which have no anchors for anchor_deit_t"):
        convert_state_dict(timm.create_model(TIMM["t"]).state_dict(), "anchor_deit_t")


def test_a_family_without_released_weights_is_refused_by_name():
    with pytest.raises(BadInputError, match="no released weights are known for 'plain_t'"):
        convert_state_dict({}, "plain_t")
