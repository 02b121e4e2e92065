"""A model whose parts do not fit is told before anything is built."""

import pytest
from cases import ROOT
from mmengine.config import Config

from effvit_mm.engine.model_check import check_model
from effvit_mm.errors import BadInputError

FPN = dict(type="FPN", in_channels=[32, 64, 160, 256], out_channels=8, num_outs=5)


def model(**parts):
    return Config(dict(model={"backbone": dict(type="AnchorFormer", variant="t"), "neck": FPN, **parts}))


def test_a_model_that_fits_passes():
    check_model(model())


def test_a_misspelt_backbone_gets_near_names():
    with pytest.raises(BadInputError, match="'AnchorFromer' is not a registered backbone; did you mean 'AnchorFormer'"):
        check_model(model(backbone=dict(type="AnchorFromer")))


def test_an_unknown_variant_gets_the_known_ones():
    with pytest.raises(BadInputError, match="unknown variant 'xl' of AnchorFormer; known: b, s, t"):
        check_model(model(backbone=dict(type="AnchorFormer", variant="xl")))


def test_an_unknown_argument_is_named():
    with pytest.raises(BadInputError, match="embed_dim"):
        check_model(model(backbone=dict(type="AnchorFormer", embed_dim=3)))


def test_a_neck_of_other_channels_is_told_what_to_set():
    neck = {**FPN, "in_channels": [256, 512, 1024, 2048]}
    with pytest.raises(BadInputError, match=r"neck FPN expects .*2048.*set in_channels=\[32, 64, 160, 256\]"):
        check_model(model(neck=neck))


def test_a_neck_for_more_levels_than_are_returned_is_told():
    with pytest.raises(BadInputError, match=r"set in_channels=\[160, 256\]"):
        check_model(model(backbone=dict(type="AnchorFormer", variant="t", out_indices=(2, 3))))


BRIDGE = dict(type="ContextBridge", in_channels=[32, 64, 160, 256])


def test_necks_one_behind_the_other_pass_if_each_fits():
    check_model(model(neck=[BRIDGE, FPN]))


def test_a_neck_behind_a_bridge_is_compared_with_the_backbone():
    with pytest.raises(BadInputError, match=r"neck FPN expects .*2048.*set in_channels=\[32, 64, 160, 256\]"):
        check_model(model(neck=[BRIDGE, {**FPN, "in_channels": [256, 512, 1024, 2048]}]))


def test_heads_behind_a_bridge_are_compared_with_the_backbone():
    head = dict(type="UPerHead", in_index=[0, 1, 2, 3], in_channels=[32, 64, 160, 255])
    with pytest.raises(BadInputError, match=r"head UPerHead expects .*255"):
        check_model(model(neck=BRIDGE, decode_head=head))


def test_a_neck_that_is_no_dict_is_named():
    with pytest.raises(BadInputError, match=r"model.neck is .*'FPN'.*or a list of such"):
        check_model(model(neck=["FPN"]))


def test_heads_without_a_neck_are_compared_at_their_own_levels():
    fits = dict(
        decode_head=dict(type="UPerHead", in_index=[0, 1, 2, 3], in_channels=[32, 64, 160, 256]),
        auxiliary_head=dict(type="FCNHead", in_index=2, in_channels=160),
    )
    check_model(model(neck=None, **fits))
    fits["auxiliary_head"]["in_channels"] = 1024
    with pytest.raises(BadInputError, match=r"head FCNHead expects in_channels=1024.*set in_channels=160"):
        check_model(model(neck=None, **fits))


def test_a_foreign_backbone_is_left_to_its_library():
    check_model(model(backbone=dict(type="mmdet.ResNet", depth=18)))


@pytest.mark.parametrize("stock", ["mmdet::maskrcnn", "mmseg::semfpn"])
@pytest.mark.parametrize("spec", [None, dict(type="BaseDataPreprocessor")])
def test_pictures_that_nothing_puts_into_a_batch_are_told(stock, spec):
    library, base = stock.split("::")
    cfg = Config.fromfile(ROOT / f"configs/_base_/models/{base}.py")
    cfg.merge_from_dict({"default_scope": library, "model.backbone": dict(type="LIT", variant="s", _delete_=True)})
    cfg.model.data_preprocessor = spec
    with pytest.raises(BadInputError, match=r"model\.data_preprocessor is .* expected one that makes a batch"):
        check_model(cfg)


def test_anchors_for_another_stride_than_the_first_map_are_refused():
    head = dict(anchor_generator=dict(strides=[8, 16, 32, 64, 128]))
    with pytest.raises(BadInputError, match=r"anchor_generator.strides begins with 8, .* has stride 4 .*out_indices"):
        check_model(model(bbox_head=head))
    check_model(model(bbox_head=head, neck={**FPN, "start_level": 1}))
