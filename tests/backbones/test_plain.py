"""The columnar assembly: where blocks, tokens and positions stand, its pyramid, its taps, its knobs and its errors."""

import pytest
import torch
from cases import SMALL_PLAIN
from torch import nn
from torch.nn import functional as F

import effvit_mm
from effvit_mm.backbones import DeiT, Plain
from effvit_mm.layers import AnchorAttention, SelfAttention, SimplePyramidLevel

C = SMALL_PLAIN["dim"]


def built(cls=Plain, **options):
    torch.manual_seed(0)
    return cls(**{**SMALL_PLAIN, **options}).double().eval()


def pictures(height=64, width=96):
    return torch.randn(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def number_of(network):
    return sum(p.numel() for p in network.parameters())


# timm's deit_*_patch16_*, counted with a head for 1000 classes.
CLASSIFIERS = {"deit_t": 5_717_416, "deit_s": 22_050_664, "deit_b": 86_567_656, "deit_b_384": 86_859_496}


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_a_classifier_has_as_many_parameters_as_timms(name):
    with torch.device("meta"):
        assert number_of(effvit_mm.create_classifier(name)) == CLASSIFIERS[name]


def test_a_distilled_classifier_has_a_token_a_position_and_a_head_more():
    with torch.device("meta"):
        assert number_of(effvit_mm.create_classifier("deit_t", num_prefix=2)) == 5_910_800


def test_stride_16_is_the_normed_map_of_the_last_block():
    backbone = built(DeiT)
    *_, last = backbone.run(*backbone.embed(pictures()))
    fmap = backbone.norms["3"](last)[:, 1:].transpose(1, 2).unflatten(-1, (4, 6))
    torch.testing.assert_close(backbone(pictures())[2], fmap)


def test_four_taps_give_each_stride_its_own_block_and_norm():
    backbone = built(taps=(0, 1, 2, 3), out_indices=(2, 3))
    with torch.no_grad():
        for i, norm in enumerate(backbone.norms.values()):
            norm.bias.add_(i)
    outputs = list(backbone.run(*backbone.embed(pictures())))
    for stride_16, tap in ((backbone(pictures())[0], 2), (None, 3)):
        fmap = backbone.norms[str(tap)](outputs[tap]).transpose(1, 2).unflatten(-1, (4, 6))
        if tap == 2:
            torch.testing.assert_close(stride_16, fmap)
        else:
            torch.testing.assert_close(backbone(pictures())[1], F.max_pool2d(fmap, 2))


def test_no_block_behind_the_last_tap_that_is_emitted_is_built():
    assert len(built(taps=(0, 1, 2, 3), out_indices=(0, 1)).blocks) == 2
    assert len(built(taps=(2,), out_indices=(0,)).blocks) == 3
    assert list(built(taps=(0, 1, 2, 3), out_indices=(0, 2)).norms) == ["0", "2"]


def test_drop_path_grows_linearly_over_all_blocks_those_not_built_included():
    rates = [getattr(b.drop_path, "drop_prob", 0.0) for b in built(drop_path_rate=0.3, taps=(2,)).blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


def test_what_a_picture_is_padded_with_is_cropped_from_every_map():
    shapes = [tuple(fmap.shape[2:]) for fmap in built()(pictures(33, 70))]
    assert shapes == [(9, 18), (5, 9), (3, 5), (2, 3)]


def test_pictures_are_padded_with_zeros_at_the_bottom_and_right():
    backbone, x = built(), pictures(33, 70)
    torch.testing.assert_close(backbone(x)[2], backbone(F.pad(x, (0, 10, 0, 15)))[2])


def test_prefix_tokens_take_part_in_dense_prediction():
    backbone = built(num_prefix=2)
    before = backbone(pictures())[2]
    with torch.no_grad():
        backbone.prefix.tokens[:, 1].normal_()
    assert not torch.allclose(backbone(pictures())[2], before)


def test_a_class_token_is_returned_in_place_of_the_map():
    backbone = built(num_prefix=2, class_token=True, out_indices=(2,))
    *_, last = backbone.run(*backbone.embed(pictures()))
    (tokens,) = backbone(pictures())
    torch.testing.assert_close(tokens, backbone.norms["3"](last)[:, :2])
    assert not list(backbone.pyramid.parameters())


def test_a_classifier_without_prefix_tokens_averages_the_map():
    network = effvit_mm.create_classifier("plain_s", 5, **SMALL_PLAIN).eval()
    x = pictures().float()
    torch.testing.assert_close(network(x), network.head(network.backbone(x)[0].mean((2, 3))))


def test_a_distilled_classifier_averages_the_scores_of_two_heads():
    network = effvit_mm.create_classifier("deit_s", 5, **SMALL_PLAIN, num_prefix=2).eval()
    x = pictures().float()
    (tokens,) = network.backbone(x)
    pair = torch.stack([network.head(tokens[:, 0]), network.head_dist(tokens[:, 1])], dim=1)
    torch.testing.assert_close(network.scores(x), pair)
    torch.testing.assert_close(network(x), pair.mean(1))


def test_features_of_a_distilled_network_are_the_mean_of_its_tokens():
    network = effvit_mm.create_classifier("deit_s", 0, **SMALL_PLAIN, num_prefix=2).eval()
    (tokens,) = network.backbone(pictures().float())
    torch.testing.assert_close(network(pictures().float()), tokens.mean(1))


def test_each_block_takes_the_mixer_it_is_given():
    backbone = built(mixers=("self", {"type": "anchor", "num_anchors": 3}, None, "anchor"))
    kinds = [type(block.mixer) for block in backbone.blocks]
    assert kinds == [SelfAttention, AnchorAttention, type(None), AnchorAttention]
    assert len(backbone.blocks[1].mixer.anchors) == 3


def test_a_family_may_run_its_blocks_as_it_likes():
    class EverySecondTwice(Plain):
        def run(self, tokens, grid):
            for i, block in enumerate(self.blocks):
                for _ in range(1 + i % 2):
                    tokens = self.apply_block(block, tokens, grid)
                yield tokens

    family, plain = built(EverySecondTwice), built()
    assert not torch.allclose(family(pictures())[2], plain(pictures())[2])
    tokens, grid = plain.embed(pictures())
    for i in (0, 1, 1, 2, 3, 3):
        tokens = plain.blocks[i](tokens, grid)
    torch.testing.assert_close(
        family(pictures())[2].flatten(2).transpose(1, 2), plain.norms["3"](tokens), rtol=1e-9, atol=1e-9
    )


def test_options_of_a_family_reach_its_block_with_and_without_checkpointing():
    tokens, grid = torch.randn(2, 24, C, dtype=torch.float64), (4, 6)
    mask = torch.zeros(2, 24, dtype=torch.bool)
    mask[:, 18:] = True
    results = []
    for with_cp in (False, True):
        backbone = built(with_cp=with_cp)
        results.append(backbone.apply_block(backbone.blocks[0], tokens, grid, padding_mask=mask))
        assert not torch.allclose(results[-1], backbone.blocks[0](tokens, grid))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(("stages", "frozen_blocks"), [(-1, 0), (0, 0), (1, 2), (2, 3), (3, 5), (4, 6)])
def test_frozen_stages_are_quarters_of_the_blocks_rounded_up(stages, frozen_blocks):
    backbone = built(DeiT, depth=6, frozen_stages=stages, taps=(1, 2, 4, 5))
    frozen = [not any(p.requires_grad for p in block.parameters()) for block in backbone.blocks]
    assert frozen == [True] * frozen_blocks + [False] * (6 - frozen_blocks)
    assert [not norm.weight.requires_grad for norm in backbone.norms.values()] == [
        tap < frozen_blocks for tap in (1, 2, 4, 5)
    ]
    stem = (backbone.patch_embed.weight, backbone.prefix.tokens, backbone.positions.table)
    assert {p.requires_grad for p in stem} == {stages == -1}
    assert {p.requires_grad for p in backbone.pyramid.parameters()} == {stages < 4}


def test_the_simple_pyramid_doubles_twice_once_keeps_and_halves():
    fmap = torch.randn(2, 24, 5, 7)
    shapes = [tuple(SimplePyramidLevel(24, stride)(fmap).shape[1:]) for stride in (4, 8, 16, 32)]
    assert shapes == [(6, 20, 28), (12, 10, 14), (24, 5, 7), (24, 3, 4)]
    assert [SimplePyramidLevel(24, stride, out_channels=10)(fmap).shape[1] for stride in (4, 8, 16, 32)] == [10] * 4


def test_each_place_of_stride_16_becomes_its_own_square_of_stride_4():
    level, fmap = SimplePyramidLevel(24, 4), torch.randn(1, 24, 3, 5)
    changed = fmap.clone()
    changed[:, :, 1, 2] += torch.randn(24)
    moved = (level(fmap) != level(changed)).any(1)[0]
    expected = torch.zeros(12, 20, dtype=torch.bool)
    expected[4:8, 8:12] = True
    assert moved.equal(expected)


def test_stride_4_is_a_transposed_convolution_a_norm_of_channels_a_gelu_and_another_one():
    level, fmap = SimplePyramidLevel(24, 4), torch.randn(2, 24, 3, 5)
    first, last = (layer for layer in level.resample if isinstance(layer, nn.ConvTranspose2d))
    middle = F.conv_transpose2d(fmap, first.weight, first.bias, stride=2)
    middle = F.gelu(F.layer_norm(middle.movedim(1, -1), (12,), eps=1e-6).movedim(-1, 1))
    torch.testing.assert_close(level(fmap), F.conv_transpose2d(middle, last.weight, last.bias, stride=2))


def test_the_projections_of_a_pyramid_with_channels_are_normed():
    level = SimplePyramidLevel(24, 8, out_channels=10)
    kinds = [type(layer) for layer in level.project]
    assert [issubclass(kind, nn.LayerNorm) for kind in kinds] == [False, True, False, True]
    channels_last = level(torch.randn(2, 24, 5, 7)).movedim(1, -1)
    torch.testing.assert_close(channels_last.mean(-1), torch.zeros(2, 10, 14), rtol=0, atol=1e-5)


def test_the_patch_embedding_starts_as_torchs_convolution():
    weight = Plain(variant="t", depth=1).patch_embed.weight
    assert weight.std().item() == pytest.approx((3 * 768) ** -0.5, rel=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Plain(variant="small"), "unknown variant 'small' of Plain; "),
        (lambda: built(taps=(1, 2)), r"taps=\(1, 2\) must be one block of 0 to 3, .* or four in rising order"),
        (lambda: built(taps=(4,)), r"taps=\(4,\) must be one block of 0 to 3"),
        (lambda: built(taps=(0, 2, 1, 3)), r"taps=\(0, 2, 1, 3\) must be"),
        (lambda: built(taps=3), "taps=3 must be"),
        (lambda: built(mixers=("self", None)), r"mixers=\('self', None\) has 2 values; give one for each of 4 blocks"),
        (lambda: built(drop_path_rate=1), "drop_path_rate=1 must be at least 0 and below 1"),
        (lambda: built(depth=0), "depth=0 must be at least 1"),
        (lambda: built(num_prefix=-1), "num_prefix=-1 must be 0"),
        (lambda: built(pretrain_img_size=15), "pretrain_img_size=15 .* at least 16"),
        (lambda: built(dim=30, num_heads=3), "dim=30 must be a multiple of 4 for a level of stride 4"),
        (lambda: built(class_token=True, out_indices=(2,)), "num_prefix=0 at least 1 .or pass class_token=False"),
        (lambda: built(DeiT, class_token=True), r"out_indices=\(0, 1, 2, 3\) must be \(2,\)"),
        (lambda: built(out_indices=(0,))(pictures(15, 40)), "15 x 40 pixels .* smaller than the largest stride 16"),
        (lambda: SimplePyramidLevel(24, 2), r"stride=2 must be one of \(4, 8, 16, 32\)"),
        (
            lambda: effvit_mm.create_classifier("deit_t", 5, **SMALL_PLAIN, num_prefix=3),
            "a class token and at most one of distillation, not 3",
        ),
    ],
)
def test_odd_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unknown_argument_of_a_family_is_named_with_those_like_it():
    with pytest.raises(TypeError, match="deit_s takes no argument 'tap'; did you mean 'taps'"):
        effvit_mm.create_backbone("deit_s", tap=(11,))
