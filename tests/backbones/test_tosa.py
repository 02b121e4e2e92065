"""ToSA over DeiT: dense at a share of one, its pairs, stages and losses, what it costs, and DeiT's weights for it."""

import pytest
import timm
import torch
from cases import SMALL_PLAIN

import effvit_mm
from effvit_mm.analysis import count
from effvit_mm.backbones import DeiT, ToSADeiT
from effvit_mm.checkpoint import convert_state_dict
from effvit_mm.checkpoint.intake import fit_backbone
from effvit_mm.layers.kept_tokens import num_kept

WIDTHS = {"t": (192, 3), "s": (384, 6)}


def built(cls=ToSADeiT, **options):
    torch.manual_seed(0)
    return cls(**{**SMALL_PLAIN, **({"num_probes": 5} if cls is ToSADeiT else {}), **options}).double().eval()


def pictures(height=64, width=96):
    return torch.randn(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def learn(backbone, x=None):
    backbone.train()(pictures() if x is None else x)
    return backbone.auxiliary_losses()


@pytest.mark.parametrize("stage", ["dense", "selector", "joint"])
def test_at_a_share_of_one_and_before_the_joint_stage_it_is_deit(stage):
    ours = built(keep=1.0 if stage == "joint" else 0.3, stage=stage)
    dense = built(DeiT)
    dense.load_state_dict({name: value for name, value in ours.state_dict().items() if "selections" not in name})
    for fmap, expected in zip(ours(pictures()), dense(pictures()), strict=True):
        assert torch.equal(fmap, expected)


def test_at_a_share_of_one_it_costs_what_deit_does():
    x = torch.zeros(1, 3, 64, 96)
    assert count(built(keep=1.0).float(), x).macs == count(built(DeiT).float(), x).macs


@torch.no_grad()
def test_a_classifier_with_timms_weights_scores_as_timms_at_a_share_of_one():
    torch.manual_seed(0)
    network = timm.create_model("deit_tiny_patch16_224").eval()
    weights = convert_state_dict(network.state_dict(), "tosa_deit_t")
    ours = effvit_mm.create_classifier("tosa_deit_t", keep=1.0).eval()
    ours.load_state_dict(weights, strict=True)
    x = torch.randn(2, 3, 224, 224)
    expected = network(x)
    assert (ours(x) - expected).abs().max() < 2e-5 * expected.std()


@pytest.mark.parametrize("variant", ["s", "b", "b_384"])
@pytest.mark.parametrize("task", ["classifier", "backbone"])
def test_every_size_takes_deits_weights_and_only_selectors_and_outputs_start_fresh(variant, task):
    names = {"s": "small_patch16_224", "b": "base_patch16_224", "b_384": "base_patch16_384"}
    with torch.device("meta"):
        network = timm.create_model(f"deit_{names[variant]}")
    weights = convert_state_dict(network.state_dict(), f"tosa_deit_{variant}", task=task)
    fresh = {name.removeprefix("backbone.").split(".")[0] for name in weights.report.fresh}
    assert fresh == ({"selections"} if task == "classifier" else {"selections", "pyramid"})
    assert weights.overrides == {}


def test_a_dense_networks_file_is_taken_whole_and_the_selectors_start_fresh():
    ours = built()
    intake = fit_backbone(ours, built(DeiT).state_dict(), "dense.pth")
    assert {name.split(".")[0] for name in intake.fresh} == {"selections"}
    assert set(fit_backbone(built(DeiT), ours.state_dict(), "tosa.pth").dropped) == set(intake.fresh)


def test_the_share_can_be_one_number_or_one_for_each_pair_and_change_at_any_time():
    backbone, x = built(keep=(1.0, 0.25)), pictures()
    first, second = backbone.kept_tokens(x)
    assert first is None
    assert second.places.shape == (2, 1 + 6)
    backbone.keep = 0.5
    assert [kept.places.shape[1] for kept in backbone.kept_tokens(x)] == [13, 13]


def test_one_network_takes_pictures_of_two_sizes():
    backbone = built()
    assert [kept.places.shape[1] for kept in backbone.kept_tokens(pictures(64, 96))] == [13, 13]
    assert [kept.places.shape[1] for kept in backbone.kept_tokens(pictures(33, 70))] == [9, 9]


def test_training_and_evaluation_compute_the_same():
    backbone = built(drop_path_rate=0.0)
    evaluated = backbone(pictures())
    for ours, theirs in zip(backbone.train()(pictures()), evaluated, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_blocks_outside_the_pairs_are_plain():
    backbone, x = built(pairs=((1, 2),)), pictures()
    outputs = list(backbone.run(*backbone.embed(x)))
    tokens, grid = backbone.embed(x)
    torch.testing.assert_close(outputs[0], backbone.blocks[0](tokens, grid))
    torch.testing.assert_close(outputs[1], backbone.blocks[1](outputs[0], grid))
    torch.testing.assert_close(outputs[3], backbone.blocks[3](outputs[2], grid))
    assert not torch.allclose(outputs[2], backbone.blocks[2](outputs[1], grid))


def test_unselected_tokens_leave_a_selective_block_as_they_entered():
    backbone, x = built(), pictures()
    outputs = list(backbone.run(*backbone.embed(x)))
    same = (outputs[1] == outputs[0]).all(-1).sum(1)
    assert same.tolist() == [24 - num_kept(0.5, 24)] * 2


def test_a_pair_that_a_tap_cuts_in_two_is_plain():
    assert list(built(taps=(2,)).selections) == ["0"]


def test_the_loss_is_there_behind_a_training_forward_once():
    backbone = built()
    assert learn(backbone)["loss_selector"] > 0
    assert backbone.auxiliary_losses() == {}
    backbone.eval()(pictures())
    assert backbone.auxiliary_losses() == {}
    with torch.no_grad():
        backbone.train()(pictures())
    assert backbone.auxiliary_losses() == {}


def test_a_forward_clears_the_loss_of_the_one_before():
    backbone, x = built(drop_path_rate=0.0).train(), pictures()
    backbone(x)
    backbone(x)
    torch.testing.assert_close(backbone.auxiliary_losses(), learn(backbone))


def test_a_teacher_says_which_maps_are_learnt():
    backbone, teacher = built(drop_path_rate=0.0), built()
    own = learn(backbone)
    backbone.keep = 1.0
    backbone.teacher = lambda x: teacher.dense_pass(x).maps
    torch.testing.assert_close(learn(backbone), {"loss_selector": learn_dense(backbone)})
    with torch.no_grad():
        teacher.blocks[1].mixer.qkv.weight.mul_(3)
    assert learn(backbone)["loss_selector"] != own["loss_selector"]
    assert not any(name.startswith("teacher") for name in backbone.state_dict())


def learn_dense(backbone):
    backbone.teacher, teacher = None, backbone.teacher
    loss = learn(backbone)["loss_selector"]
    backbone.teacher = teacher
    return loss


@pytest.mark.parametrize("stage", ["dense", "selector", "joint"])
@pytest.mark.parametrize(("importance", "keep"), [("predicted", 0.5), ("scored", 0.5), ("scored", 1.0)])
def test_every_parameter_that_a_stage_trains_gets_a_gradient(stage, importance, keep):
    backbone = built(stage=stage, importance=importance, keep=keep, drop_path_rate=0.0).train()
    total = sum(fmap.square().sum() for fmap in backbone(pictures()))
    total = total + sum(backbone.auxiliary_losses().values())
    total.backward()
    learning = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert ("selections" in learning) is (stage != "dense")
    assert ("blocks" in learning) is (stage != "selector")
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) is parameter.requires_grad, name


def test_the_map_a_selector_learns_from_leaves_autocast_no_weights_without_gradient():
    backbone = built(drop_path_rate=0.0).float().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = sum(fmap.float().square().sum() for fmap in backbone(pictures().float()))
    (total + sum(backbone.auxiliary_losses().values())).backward()
    lacking = [name for name, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert not lacking


@pytest.mark.parametrize("stage", ["selector", "joint"])
def test_scored_tokens_pass_the_same_layers_in_every_choosing_stage_learning_or_not(stage):
    backbone, joint = built(importance="scored", stage=stage, drop_path_rate=0.0), built(importance="scored")
    expected = joint(pictures())
    for mode in (False, True):
        torch.testing.assert_close(backbone.train(mode)(pictures()), expected, rtol=1e-9, atol=1e-9)
    assert learn(backbone) == {}
    dense = built(importance="scored", stage="dense")(pictures())
    assert not torch.allclose(dense[-1], expected[-1])


@pytest.mark.parametrize("importance", ["own", "class_token", "random"])
def test_a_baseline_has_no_selector_and_no_loss_and_keeps_as_many(importance):
    backbone = built(importance=importance)
    assert not list(backbone.selections.parameters())
    assert learn(backbone) == {}
    assert backbone.kept_tokens(pictures())[0].places.shape == (2, 13)


@pytest.mark.parametrize("variant", sorted(WIDTHS))
@pytest.mark.parametrize("keep", [0.7, 0.5, 0.3])
def test_a_backbone_costs_what_the_closed_form_says(variant, keep):
    dim, heads = WIDTHS[variant]
    n, k = 197, 1 + num_kept(keep, 196)
    layers = 12 * dim**2 * (n + k) + 2 * dim * (n**2 + k**2)
    selector = 64 * n * dim + 2 * 3 * heads * 2 * heads * 64 * n
    expected = 196 * 768 * dim + 6 * (layers + selector)
    backbone = effvit_mm.create_backbone(f"tosa_deit_{variant}", keep=keep, class_token=True, out_indices=(2,))
    ledger = count(backbone, torch.zeros(1, 3, 224, 224))
    assert ledger.macs == pytest.approx(expected, rel=0.01)
    assert not ledger.unknown()


def test_a_threshold_says_that_it_compiles_in_pieces_alone():
    backbone = built(select="threshold").eval()
    assert built().compiles_whole
    assert not backbone.compiles_whole
    with torch.no_grad():
        expected = backbone(pictures())
        with pytest.raises(Exception, match=r"[Dd]ata-dependent|Tensor\.item"):
            torch.compile(backbone, backend="eager", fullgraph=True)(pictures())
        torch._dynamo.reset()
        for ours, theirs in zip(torch.compile(backbone, backend="eager")(pictures()), expected, strict=True):
            torch.testing.assert_close(ours, theirs)
    torch._dynamo.reset()


def test_gather_and_scatter_are_in_the_ledger():
    ledger = count(built().float(), torch.zeros(1, 3, 64, 96))
    assert ledger.by_line()["gather and scatter"].bytes_written > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0.0}, "keep=0.0 must be above 0"),
        ({"keep": (0.5,)}, "one for each of the 2 pairs"),
        ({"keep": (0.5, 1.5)}, "at most 1"),
        ({"pairs": ((0, 2),)}, "pairs of neighbouring blocks"),
        ({"pairs": ((0, 1), (1, 2))}, "without a block in two of them"),
        ({"pairs": ((3, 4),)}, "blocks of 0 to 3"),
        ({"stage": "all"}, "stage='all'"),
        ({"mlp": "mix"}, "mlp='mix' must be 'plain'"),
        ({"importance": "class_token", "num_prefix": 0}, "needs a class token"),
        ({"selector": {"hidden": -1}}, "hidden=-1"),
    ],
)
def test_what_is_not_allowed_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        built(**options)
