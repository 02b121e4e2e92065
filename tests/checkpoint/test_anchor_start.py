"""DeiT's weights start a network of anchors: what is shared is exact, and every row is accounted for."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from reference.anchor_deit import AnchorDeiT as Official

import effvit_mm
from effvit_mm.backbones import AnchorDeiT
from effvit_mm.checkpoint import AnchorStart, convert_state_dict, start_anchors
from effvit_mm.checkpoint.anchor_start_keys import rename_deit_for_anchors
from effvit_mm.errors import BadInputError
from effvit_mm.layers import AnchorAttention
from effvit_mm.layers.anchor_statistics import row_entropy
from effvit_mm.pictures import read_pictures

C, HEADS, M = 192, 3, 30
MODES = ("center", "drop", "keep")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Write five pictures of coloured patches, in two folders."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for i in range(5):
        patches = generator.integers(0, 256, (9, 7 + i, 3), dtype=np.uint8)
        file = folder / f"class{i % 2}" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(patches).resize((200 + i, 160), Image.Resampling.BICUBIC).save(file)
    return folder


@pytest.fixture(scope="module")
def deit():
    return randomized(timm.create_model("deit_tiny_patch16_224", num_classes=7))


def randomized(network):
    """Make every weight a draw that is no initialisation's."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.rand(parameter.shape) * 0.4 + (0.8 if "norm" in name else -0.2))
            elif "token" in name or "pos_embed" in name:
                parameter.normal_()
    return network.eval()


@pytest.fixture(scope="module")
def started(deit, images):
    return {mode: convert_state_dict(deit.state_dict(), "anchor_deit_t", anchors=start(images, mode)) for mode in MODES}


def start(images, key_bias="center", **options):
    return AnchorStart(images, **{"num_images": 3, "key_bias": key_bias, **options})


def network_of(weights, name="anchor_deit_t"):
    network = effvit_mm.create_classifier(name, **weights.overrides).eval()
    network.load_state_dict(weights, strict=True)
    return network


def seen_by_layers(network, x):
    """Return what enters each mixer, by block."""
    seen, handles = {}, []
    for i, block in enumerate(network.backbone.blocks):
        handles.append(block.mixer.register_forward_hook(lambda layer, args, out, i=i: seen.update({i: args[0]})))
    network(x)
    for handle in handles:
        handle.remove()
    return seen


def attention_parts(network, i=0):
    weight, bias = network.blocks[i].attn.qkv.weight.double(), network.blocks[i].attn.qkv.bias.double()
    return weight.chunk(3), bias.chunk(3), network.blocks[i].attn.proj


@torch.no_grad()
def test_a_layer_distributes_values_with_deits_bias_exactly(deit):
    renamed = rename_deit_for_anchors(
        {k: v.double() for k, v in deit.state_dict().items()}, "t", "backbone", num_anchors=M, key_bias="drop"
    )
    (_, keys, values), (_, _, value_bias), proj = attention_parts(deit, 4)
    layer = AnchorAttention(C, HEADS, num_anchors=M, mode="paper").double()
    ours = "blocks.4.mixer."
    anchors = torch.randn(M, C // HEADS, dtype=torch.float64) * 20
    state = {name.removeprefix(ours): v for name, (_, v) in renamed.weights.items() if name.startswith(ours)}
    layer.load_state_dict({**state, "anchors": anchors}, strict=True)
    x = torch.randn(2, 11, C, dtype=torch.float64)
    assignment = ((x @ keys.T).unflatten(-1, (HEADS, -1)) @ anchors.T / (C // HEADS) ** 0.5).softmax(-1)
    walked = layer.walk(assignment, x @ values.T + value_bias)
    expected = walked @ proj.weight.double().T + proj.bias.double()
    torch.testing.assert_close(layer(x, (1, 11)), expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_with_the_bias_kept_the_logits_are_those_of_deits_keys(started, deit):
    network = network_of(started["keep"])
    (_, keys, _), (_, key_bias, _), _ = attention_parts(deit, 2)
    layer, x = network.backbone.blocks[2].mixer, torch.randn(2, 11, C)
    biased = (x.double() @ keys.T + key_bias).unflatten(-1, (HEADS, -1))
    expected = (biased @ layer.anchors.double().T / (C // HEADS) ** 0.5).softmax(-1)
    assigned = layer.assign(layer.key_value(x).chunk(2, -1)[0])
    torch.testing.assert_close(assigned.double(), expected, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_centering_gives_keys_mean_0_and_leaves_what_a_layer_does_with_values(deit):
    x = torch.randn(3, 3, 64, 80, dtype=torch.float64)
    options = dict(dim=24, depth=2, num_heads=3, mlp_ratio=2, pretrain_img_size=80, num_anchors=5)
    torch.manual_seed(0)
    network = AnchorDeiT(**options).double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    block = network.blocks[0]
    tokens, _ = network.embed(x)
    walk = torch.rand(3, 2 + 20, 3, 5, dtype=torch.float64)
    walk /= walk.sum(-1, keepdim=True)

    def projected():
        keys, values = block.mixer.key_value(block.norm1(tokens)).chunk(2, -1)
        return keys, block.mixer.proj(block.mixer.walk(walk, values))

    keys, before = projected()
    start_anchors(network, x, center=True)
    centered, after = projected()
    assert centered.mean(dim=(0, 1)).abs().max() < 1e-12
    torch.testing.assert_close(centered, keys - keys.mean(dim=(0, 1)))
    torch.testing.assert_close(after, before, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_every_layer_meets_the_entropy_behind_the_layers_already_converted(started, images, mode):
    network = network_of(started[mode])
    seen = seen_by_layers(network, read_pictures(images, 224, num_pictures=3))
    for i, block in enumerate(network.backbone.blocks):
        keys = block.mixer.key_value(seen[i]).chunk(2, -1)[0]
        assert row_entropy(block.mixer.assign(keys)).mean() == pytest.approx(0.75, abs=0.01), i


def test_another_entropy_is_met(deit, images):
    weights = convert_state_dict(deit.state_dict(), "anchor_deit_t", anchors=start(images, entropy=0.5, num_anchors=7))
    assert weights.overrides == {"num_classes": 7, "num_anchors": 7}
    assert "entropy 0.50 of log 7" in weights.report.made["backbone.blocks.11.mixer.anchors"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("task", ["classifier", "backbone"])
def test_every_row_of_the_source_is_used_or_reported(distilled, task, mode):
    source = timm.create_model("deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224").state_dict()
    rows = {name: {None} for name in source}
    for i in range(12):
        for leaf in ("weight", "bias"):
            rows[f"blocks.{i}.attn.qkv.{leaf}"] = {"query", "key", "value"}
    renamed = rename_deit_for_anchors(source, "t", task, num_anchors=M, key_bias=mode)
    parts = {"[:192]": {"query"}, "[192:384]": {"key"}}
    for name in renamed.dropped:
        whole, _, slice_ = name.partition("[")
        rows[whole] -= parts["[" + slice_] if slice_ else {None}
    for ours, (names, _) in renamed.weights.items():
        for name in names.split(" + "):
            if name.endswith("qkv.weight"):
                rows[name] -= {"key", "value"}
            elif name.endswith("qkv.bias"):
                rows[name] -= {"key"} if "key_value" in ours else {"value"}
            elif name in rows:
                rows[name] -= {None}
    assert not {name: left for name, left in rows.items() if left}


def test_the_report_tells_what_was_made_and_fits(started):
    report = started["center"].report
    assert report.fits
    assert not report.fresh
    told = {part for theirs in report.matched.values() for part in theirs.split(" + ")}
    assert "blocks.0.attn.qkv.weight" in told
    assert "blocks.0.attn.qkv.bias" in told
    assert not any(name.endswith("anchors") for name in report.matched)
    copies = {name for name, how in report.made.items() if how.startswith("a copy of")}
    assert copies == {
        "backbone.prefix.tokens[:, 1]",
        "backbone.positions.table[:, 1]",
        "head_dist.weight",
        "head_dist.bias",
    }


def test_the_second_token_and_head_are_copies_of_the_first(started, deit):
    weights = started["drop"]
    assert weights["backbone.prefix.tokens"].equal(deit.cls_token.expand(1, 2, C))
    assert weights["backbone.positions.table"].equal(torch.cat([deit.pos_embed[:, :1], deit.pos_embed], dim=1))
    assert weights["head_dist.weight"].equal(deit.head.weight)


def test_a_distilled_source_keeps_its_own_second_token_and_head(images):
    source = randomized(timm.create_model("deit_tiny_distilled_patch16_224"))
    weights = convert_state_dict(source.state_dict(), "anchor_deit_t", anchors=start(images))
    assert weights["backbone.prefix.tokens"].equal(torch.cat([source.cls_token, source.dist_token], dim=1))
    assert weights["head_dist.weight"].equal(source.head_dist.weight)
    assert {name.rsplit(".", 1)[-1] for name in weights.report.made} == {"anchors", "bias"}


@pytest.mark.parametrize("mode", ["center", "drop"])
@torch.no_grad()
def test_the_result_loads_strictly_in_the_official_layout_and_scores_the_same(started, mode):
    official = Official(C, HEADS, num_classes=7).eval()
    state = {}
    names = {
        "mixer.key_value": "attn.x_to_emb",
        "mixer.anchors": "attn.dist_anchor_B.weight",
        "mixer.proj": "attn.to_out.0",
    }
    names |= {"backbone.": "", "norms.11": "norm", "patch_embed.": "patch_embed.proj.", "positions.table": "pos_embed"}
    for name, value in started[mode].items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = value
    state["cls_token"], state["dist_token"] = state.pop("prefix.tokens").chunk(2, dim=1)
    official.load_state_dict(state, strict=True)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    expected = official(x)
    assert (network_of(started[mode])(x) - expected).abs().max() < 2e-5 * expected.std()


def test_a_backbone_has_the_same_anchors(started, deit, images):
    dense = convert_state_dict(deit.state_dict(), "anchor_deit_t", "backbone", anchors=start(images))
    effvit_mm.create_backbone("anchor_deit_t", **dense.overrides).load_state_dict(dense, strict=True)
    assert dense["blocks.7.mixer.anchors"].equal(started["center"]["backbone.blocks.7.mixer.anchors"])


def test_anchors_are_the_same_in_each_run_and_others_with_another_seed(started, deit, images):
    torch.manual_seed(9)
    state = torch.get_rng_state()
    again = convert_state_dict(deit.state_dict(), "anchor_deit_t", anchors=start(images))
    assert torch.get_rng_state().equal(state)
    other = convert_state_dict(deit.state_dict(), "anchor_deit_t", anchors=start(images, seed=1))
    name = "backbone.blocks.0.mixer.anchors"
    assert again[name].equal(started["center"][name])
    assert not other[name].equal(again[name])


def test_the_source_is_left_as_it_was(deit, images):
    source = deit.state_dict()
    before = {name: value.clone() for name, value in source.items()}
    convert_state_dict(source, "anchor_deit_t", anchors=start(images))
    assert all(source[name].equal(value) for name, value in before.items())


def test_without_pictures_the_error_says_what_to_give(deit):
    with pytest.raises(BadInputError, match=r"weights of DeiT.*give\s+--images DIR"):
        convert_state_dict(deit.state_dict(), "anchor_deit_t")


def test_pictures_for_other_weights_or_networks_are_refused(deit, images):
    with pytest.raises(BadInputError, match=r"--images .* these are not DeiT's; leave it out"):
        convert_state_dict(Official(C, HEADS).state_dict(), "anchor_deit_t", anchors=start(images))
    with pytest.raises(BadInputError, match=r"--images .* deit_t has none; leave it out"):
        convert_state_dict(deit.state_dict(), "deit_t", anchors=start(images))


@pytest.mark.parametrize(
    ("leaf", "value", "message"),
    [
        ("qkv.bias", torch.zeros(5), r"blocks.3.attn.qkv.bias has shape \(5,\) and cannot be folded"),
        ("qkv.weight", torch.zeros(()), "has shape .* and backbone.blocks.3.mixer.key_value.weight has 384x192"),
        ("qkv.weight", torch.zeros(7, 2), "has shape 5x2, and backbone.blocks.3.mixer.key_value.weight has 384x192"),
        ("qkv.bias", torch.full((3 * C,), torch.nan), "not finite"),
        ("q_norm.weight", torch.zeros(64), "the network has no backbone.blocks.3.mixer.q_norm.weight"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(deit, images, leaf, value, message):
    source = {**deit.state_dict(), f"blocks.3.attn.{leaf}": value}
    with pytest.raises(BadInputError, match=message):
        convert_state_dict(source, "anchor_deit_t", anchors=start(images))


def test_weights_without_values_are_refused(images):
    with torch.device("meta"):
        source = timm.create_model("deit_tiny_patch16_224").state_dict()
    with pytest.raises(BadInputError, match=r"holds no values for .* save it anew"):
        convert_state_dict(source, "anchor_deit_t", anchors=start(images))


def test_keys_too_few_for_the_anchors_are_refused():
    network = AnchorDeiT(dim=24, depth=1, num_heads=3, mlp_ratio=2, pretrain_img_size=32, num_anchors=50)
    with pytest.raises(BadInputError, match=r"block 0: its pictures give .* different keys for 50 anchors"):
        start_anchors(network, torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    "options", [{"num_images": 0}, {"num_anchors": 1}, {"key_bias": "fold"}, {"entropy": 1.0}, {"seed": -1}]
)
def test_a_start_that_cannot_be_is_refused_by_name(options):
    with pytest.raises(BadInputError, match=next(iter(options))):
        AnchorStart("images", **options)
