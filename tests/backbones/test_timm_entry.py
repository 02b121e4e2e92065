"""The backbones under timm's names keep timm's conventions."""

import subprocess
import sys

import pytest
import timm
import torch
from cases import SMALL
from timm.data import resolve_model_data_config
from timm.optim import create_optimizer_v2

import effvit_mm
from effvit_mm.backbones import timm_entry

SMALL_PLAIN = dict(dim=24, depth=3, num_heads=3, mlp_ratio=2)
# One of each assembly: pooled map, class token, columnar.
NETWORKS = {"lit_s": SMALL, "lit_ti": SMALL, "anchorformer_t": SMALL, "deit_t": SMALL_PLAIN, "plain_t": SMALL_PLAIN}
networks = pytest.mark.parametrize("name", NETWORKS)


def create(name, **options):
    torch.manual_seed(0)
    return timm.create_model(f"effvit_mm_{name}", **NETWORKS[name], **options).eval()


def pictures(height=64, width=96):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_every_backbone_is_registered():
    assert {f"effvit_mm_{name}" for name in effvit_mm.list_backbones()} <= set(timm.list_models("effvit_mm_*"))
    timm_entry.register_all()  # a second time registers, and warns of, nothing


def test_importing_the_package_does_not_import_timm():
    script = "import sys, effvit_mm; assert 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@networks
def test_the_classifier_is_ours_under_timms_name(name):
    ours = effvit_mm.create_classifier(name, 5, **NETWORKS[name]).eval()
    network = create(name, num_classes=5)
    ours.load_state_dict(network.state_dict(), strict=True)
    torch.testing.assert_close(network(pictures()), ours(pictures()))


@networks
@torch.no_grad()
def test_features_then_head_is_forward(name):
    network = create(name, num_classes=5)
    features = network.forward_features(pictures())
    torch.testing.assert_close(network.forward_head(features), network(pictures()))
    assert network.forward_head(features, pre_logits=True).shape == (2, network.num_features)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("lit_s", (2, 24, 2, 3)), ("plain_t", (2, 24, 4, 6)), ("lit_ti", (2, 24)), ("deit_t", (2, 24))],
)
@torch.no_grad()
def test_forward_features_returns_what_the_backbone_emits(name, shape):
    assert create(name).forward_features(pictures()).shape == shape


@networks
@torch.no_grad()
def test_the_head_is_replaced_and_removed(name):
    network = create(name, num_classes=5)
    assert network.get_classifier() is network.head
    network.reset_classifier(7)
    assert network(pictures()).shape == (2, 7)
    assert network.num_classes == 7
    network.reset_classifier(0)
    assert network(pictures()).shape == (2, network.num_features)
    assert create(name, num_classes=0)(pictures()).shape == (2, network.head_hidden_size)


@torch.no_grad()
def test_without_pooling_the_map_is_returned():
    network = create("lit_s", num_classes=0, global_pool="")
    torch.testing.assert_close(network(pictures()), network.forward_features(pictures()))
    network = create("lit_s")
    network.reset_classifier(0, "")
    assert network(pictures()).ndim == 4
    for name in ("lit_s", "deit_t"):
        network = create(name, num_classes=5, global_pool="")
        torch.testing.assert_close(network(pictures()), network.forward_features(pictures()))


@networks
@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 3), (-2, -1), 3])
@torch.no_grad()
def test_features_only_gives_maps_as_feature_info_says(name, out_indices):
    network = create(name, features_only=True, out_indices=out_indices)
    maps = network(pictures(65, 97))
    assert [fmap.shape[1] for fmap in maps] == network.feature_info.channels()
    for fmap, reduction in zip(maps, network.feature_info.reduction(), strict=True):
        assert fmap.shape[2:] == (-(-65 // reduction), -(-97 // reduction))
    expected = {(0, 1, 2, 3): [4, 8, 16, 32], (1, 3): [8, 32], (-2, -1): [16, 32], 3: [8, 16, 32]}
    assert network.feature_info.reduction() == expected[out_indices]
    assert all(network.get_submodule(module) is not None for module in network.feature_info.module_name())


def test_features_start_from_a_classifiers_file(tmp_path):
    network = create("lit_ti", num_classes=5)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "cls.pth")
    source = dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(tmp_path / "cls.pth")))
    features = create("lit_ti", features_only=True, **source)
    assert (
        features.backbone.stages[2].blocks[0].mlp.fc1.weight.equal(network.backbone.stages[2].blocks[0].mlp.fc1.weight)
    )
    again = create("lit_ti", num_classes=5, **source)
    assert again.head.weight.equal(network.head.weight)


@pytest.mark.parametrize("features_only", [False, True])
def test_pretrained_weights_that_do_not_exist_are_refused(features_only):
    with pytest.raises(ValueError, match="no weights of effvit_mm_lit_s are published"):
        create("lit_s", pretrained=True, features_only=features_only)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(in_chans=1), ValueError, "in_chans: effvit_mm_lit_s takes pictures of 3 channels"),
        (dict(global_pool="max"), ValueError, "global_pool='max' must be 'avg'"),
        (dict(drop_path=0.1), TypeError, "no argument 'drop_path'; did you mean 'drop_path_rate'"),
    ],
)
def test_odd_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        create("lit_s", **options)


def test_pictures_are_prepared_as_in_pre_training():
    config = resolve_model_data_config(create("lit_s"))
    assert config["input_size"] == (3, 224, 224)
    assert (config["crop_pct"], config["interpolation"]) == (0.875, "bicubic")
    assert config["mean"] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("name", "spared"),
    [("lit_s", ("bias_table",)), ("lit_ti", ("prefix.tokens",)), ("deit_t", ("prefix.tokens", "positions.table"))],
)
def test_timms_optimizer_spares_what_our_recipe_spares(name, spared):
    network = create(name)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1e-3, weight_decay=0.05)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert all(any(name.endswith(part) for name, _ in network.named_parameters()) for part in spared)
    for name, parameter in network.named_parameters():
        assert decays[id(parameter)] == (0 if parameter.ndim == 1 or name.endswith(spared) else 0.05), name


def test_dropout_stands_in_front_of_the_head():
    network = create("lit_s", num_classes=5, drop_rate=0.5).train()
    network.head_drop.register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0] - output).abs().max())
    )
    seen = []
    network(pictures())
    assert seen[0] > 0


def test_blocks_are_recomputed_on_demand():
    network = create("lit_s", num_classes=5).train()
    network.set_grad_checkpointing()
    assert all(stage.with_cp for stage in network.backbone.stages)
    network(pictures()).sum().backward()
    network.set_grad_checkpointing(False)
    assert not any(stage.with_cp for stage in network.backbone.stages)
