"""LIT: the official sizes, where it attends, and its two families' positions, norms and class token."""

import pytest
import torch
from cases import SMALL

import effvit_mm
from effvit_mm.backbones import LIT
from effvit_mm.layers import DeformableMerging, PatchMerging, RelativePositionAttention, SelfAttention

# With a head for 1000 classes, and without one: the official networks, counted.
CLASSIFIERS = {
    "lit_ti": (19_886_272, 19_373_272),
    "lit_s": (27_973_720, 27_204_720),
    "lit_m": (49_372_264, 48_603_264),
    "lit_b": (87_292_384, 86_267_384),
}


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
@pytest.mark.parametrize(("num_classes", "column"), [(1000, 0), (0, 1)])
def test_a_classifier_has_the_official_number_of_parameters(name, num_classes, column):
    with torch.device("meta"):
        network = effvit_mm.create_classifier(name, num_classes)
    assert sum(p.numel() for p in network.parameters()) == CLASSIFIERS[name][column]


@pytest.mark.parametrize(("variant", "attention"), [("ti", SelfAttention), ("s", RelativePositionAttention)])
def test_stages_one_and_two_are_mlps_and_three_and_four_attend(variant, attention):
    backbone = LIT(variant=variant, **SMALL)
    mixers = [{type(block.mixer) for block in stage.blocks} for stage in backbone.stages]
    assert mixers == [{type(None)}, {type(None)}, {attention}, {attention}]
    assert [type(stage.merger) for stage in backbone.stages] == [PatchMerging] + 3 * [DeformableMerging]


def test_tables_are_those_of_pictures_of_the_given_size():
    backbone = LIT(variant="s", **SMALL, pretrain_img_size=160)
    assert [stage.blocks[0].mixer.table_grid for stage in backbone.stages[2:]] == [(10, 10), (5, 5)]
    small = LIT(variant="ti", **SMALL, pretrain_img_size=160)
    assert [stage.positions.table_grid for stage in small.stages] == [(40, 40), (20, 20), (10, 10), (5, 5)]


def test_dense_outputs_of_the_small_family_have_no_norm_unless_asked_for():
    assert list(LIT(variant="ti", **SMALL).norms) == []
    assert list(LIT(variant="ti", **SMALL, output_norms=(1, 3)).norms) == ["1", "3"]
    assert list(LIT(variant="s", **SMALL, output_norms=(1, 2, 3), out_indices=(0, 2)).norms) == ["2"]


def test_the_class_token_joins_the_last_stage_alone():
    backbone = LIT(variant="ti", **SMALL, class_token=True, out_indices=(3,), output_norms=(3,)).eval()
    assert [stage.prefix is not None for stage in backbone.stages] == [False, False, False, True]
    (token,) = backbone(torch.randn(2, 3, 64, 96))
    assert token.shape == (2, SMALL["channels"][3])


def test_a_classifier_of_the_small_family_reads_its_class_token():
    network = effvit_mm.create_classifier("lit_ti", 5, **SMALL).eval()
    pictures = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(network(pictures), network.head(network.backbone(pictures)[0]))
    before = network(pictures)
    with torch.no_grad():
        network.backbone.stages[3].prefix.tokens.neg_()
    assert not torch.allclose(network(pictures), before)


def test_other_classifiers_average_the_last_map():
    network = effvit_mm.create_classifier("lit_s", 5, **SMALL).eval()
    pictures = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(network(pictures), network.head(network.backbone(pictures)[0].mean((2, 3))))


def test_merging_starts_as_a_strided_convolution():
    for stage in LIT(variant="s", **SMALL).stages[1:]:
        assert stage.merger.offset.weight.abs().max() == 0
        assert stage.merger.offset.bias.abs().max() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LIT(variant="t"), "unknown variant 't' of LIT; did you mean 'ti'"),
        (lambda: LIT(pretrain_img_size=16), "pretrain_img_size=16 .* at least 32"),
        (lambda: LIT(**SMALL, class_token=True), r"class_token=True returns .* out_indices=\(0, 1, 2, 3\) must be"),
        (lambda: LIT(**SMALL, output_norms=(4,)), r"output_norms=\(4,\) must be"),
        (lambda: LIT(**SMALL, out_indices=3), "out_indices=3 must be"),
        (lambda: effvit_mm.create_classifier("lit_ti", -1, **SMALL), "num_classes=-1 must be 0"),
    ],
)
def test_odd_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("create", [effvit_mm.create_backbone, effvit_mm.create_classifier])
def test_an_unknown_argument_is_named_with_those_like_it(create):
    with pytest.raises(TypeError, match="lit_s takes no argument 'out_indice'; did you mean 'out_indices'"):
        create("lit_s", out_indice=(3,))


def test_a_single_picture_without_batch_is_refused():
    with pytest.raises(ValueError, match=r"shape \(B, 3, H, W\), got \(3, 64, 96\)"):
        LIT(variant="ti", **SMALL)(torch.randn(3, 64, 96))


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (torch.randn(1, 4, 64, 64), r"got \(1, 4, 64, 64\); channels come second"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "a tensor of floats, got a tensor of torch.uint8"),
        (torch.zeros(1, 3, 64, 64).numpy(), "a tensor of floats, got a ndarray"),
    ],
)
def test_pictures_of_another_kind_are_refused_with_the_cure(pictures, message):
    with pytest.raises(ValueError, match=message):
        LIT(variant="ti", **SMALL)(pictures)


def test_a_classifiers_own_argument_is_among_the_near_names():
    with pytest.raises(TypeError, match="'num_clases'; did you mean 'num_classes'"):
        effvit_mm.create_classifier("lit_ti", num_clases=3)
    with pytest.raises(TypeError, match=r"create_classifier\('lit_ti', num_classes=...\) does"):
        effvit_mm.create_backbone("lit_ti", num_classes=3)
