"""The assembly: exact sizes, choices per stage, constructor knobs, and errors that say what to mend."""

import pytest
import torch
from cases import SMALL
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import effvit_mm
from effvit_mm.analysis import count
from effvit_mm.backbones import AnchorFormer, Pyramid
from effvit_mm.layers import AnchorAttention, MixMlp, Mlp, SelfAttention
from effvit_mm.registry import TOKEN_MIXERS

# Parameters, and multiply-adds at 224x224 in G: the budgets the papers report, met by construction.
GOLDEN = {
    "anchor_deit_t": (5_264_880, 1.08),
    "anchor_deit_s": (20_570_592, 4.17),
    "anchor_deit_b": (81_373_632, 16.39),
    "anchor_deit_b_384": (81_665_472, 16.39),
    "anchorformer_t": (4_074_130, 0.70),
    "anchorformer_s": (18_001_592, 2.68),
    "anchorformer_b": (62_970_716, 9.21),
    "deit_t": (5_690_736, 1.30),
    "deit_s": (22_330_080, 4.77),
    "deit_b": (88_454_592, 18.26),
    "deit_b_384": (88_746_432, 18.26),
    "hybrid_t": (5_630_395, 0.92),
    "hybrid_s": (18_905_528, 2.80),
    "lit_ti": (19_371_224, 3.60),
    "lit_s": (27_206_064, 4.08),
    "lit_m": (48_604_608, 8.59),
    "lit_b": (86_269_176, 15.03),
    "reduced_deit_t": (5_872_902, 0.85),
    "reduced_deit_s": (23_053_830, 3.17),
    "reduced_deit_b": (91_339_782, 12.24),
    "reduced_deit_b_384": (91_631_622, 12.24),
    "tosa_deit_t": (5_691_420, 0.99),
    "tosa_deit_s": (22_332_744, 3.66),
    "tosa_deit_b": (88_465_104, 14.02),
    "tosa_deit_b_384": (88_756_944, 14.02),
    "plain_t": (5_690_352, 1.29),
    "plain_s": (22_329_312, 4.75),
    "plain_b": (88_453_056, 18.16),
    "pyramid_t": (4_372_640, 2.18),
    "pyramid_s": (19_436_480, 5.78),
}


def test_every_named_backbone_has_golden_numbers():
    assert effvit_mm.list_backbones() == sorted(GOLDEN)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_parameters_and_multiply_adds_are_exact(name):
    num_parameters, giga_macs = GOLDEN[name]
    backbone = effvit_mm.create_backbone(name)
    assert sum(p.numel() for p in backbone.parameters()) == num_parameters
    assert count(backbone, torch.randn(1, 3, 224, 224)).macs / 1e9 == pytest.approx(giga_macs, rel=0.01)


def test_the_yardstick_differs_from_anchorformer_in_the_mixer_alone():
    def without_mixers(backbone):
        return {key: value.shape for key, value in backbone.state_dict().items() if ".mixer." not in key}

    for variant in ("t", "s"):
        ours, yardstick = AnchorFormer(variant=variant), Pyramid(variant=variant)
        assert without_mixers(ours) == without_mixers(yardstick)


def test_each_stage_takes_the_mechanism_it_is_given():
    backbone = Pyramid(
        **SMALL,
        mixers=(None, "self", {"type": "anchor", "num_anchors": 3}, "anchor"),
        mlps=("plain", "mix", "mix", "mix"),
    )
    mixers = [type(stage.blocks[0].mixer) for stage in backbone.stages]
    assert mixers == [type(None), SelfAttention, AnchorAttention, AnchorAttention]
    assert [type(stage.blocks[0].mlp) for stage in backbone.stages] == [Mlp, MixMlp, MixMlp, MixMlp]
    assert backbone.stages[2].blocks[0].mixer.anchors.shape[0] == 3


def test_anchorformer_passes_its_own_options_to_every_layer():
    backbone = AnchorFormer(**SMALL, num_anchors=4, mode="paper", shared_anchors=False, local="dwconv")
    for stage in backbone.stages:
        for block in stage.blocks:
            assert block.mixer.anchors.shape[:2] == (block.mixer.num_heads, 4)
            assert block.mixer.log_temperature is None
            assert block.mixer.local is not None


def test_drop_path_grows_linearly_over_the_blocks():
    backbone = Pyramid(**SMALL, drop_path_rate=0.4)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in backbone.stages for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_norm_eval_keeps_batch_norms_in_evaluation_during_training():
    class NormMixer(nn.BatchNorm1d):
        def __init__(self, dim, num_heads):
            super().__init__(dim)

        def forward(self, tokens, grid, *, num_prefix=0, padding_mask=None):
            return super().forward(tokens.transpose(1, 2)).transpose(1, 2)

    TOKEN_MIXERS.register_module("norm_of_this_test", module=NormMixer)
    try:
        backbones = {on: Pyramid(**SMALL, mixers="norm_of_this_test", norm_eval=on).train() for on in (True, False)}
    finally:
        TOKEN_MIXERS.module_dict.pop("norm_of_this_test")
    assert not backbones[True].stages[0].blocks[0].mixer.training
    assert backbones[False].stages[0].blocks[0].mixer.training


# torch 2.4 warns of how MMEngine calls torch.load.
@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")
def test_pretrained_weights_replace_our_initialisation(tmp_path):
    teacher, file = Pyramid(**SMALL), tmp_path / "weights.pth"
    torch.save(teacher.state_dict(), file)
    student = Pyramid(**SMALL, init_cfg={"type": "Pretrained", "checkpoint": str(file)})
    student.init_weights()
    for name, value in teacher.state_dict().items():
        assert student.state_dict()[name].equal(value), name


@pytest.mark.parametrize("scope", ["mmengine", "mmdet", "mmseg", "mmpretrain"])
def test_configs_of_every_library_build_it_by_name(scope):
    with DefaultScope.overwrite_default_scope(scope):
        backbone = MODELS.build({"type": "AnchorFormer", "variant": "t", "num_anchors": 3, "depths": (1, 1, 1, 1)})
    assert backbone.channels == (32, 64, 160, 256)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effvit_mm.create_backbone("anchorfromer_s"), "'anchorfromer_s'; did you mean 'anchorformer_s'"),
        (lambda: effvit_mm.create_backbone("zzz"), "known: anchor_deit_b"),
        (lambda: AnchorFormer(variant="small"), "unknown variant 'small' of AnchorFormer; did you mean|known: b, s, t"),
        (lambda: Pyramid(channels=(8, 16, 32)), r"channels=\(8, 16, 32\) has 3 values; give one for each"),
        (lambda: Pyramid(**SMALL, mixers="anchr"), "unknown token mixer 'anchr'; did you mean 'anchor'"),
        (
            lambda: Pyramid(**SMALL, mixers={"type": "agent", "agentgrid": (5, 5)}),
            "token mixer 'agent' takes no option 'agentgrid'; did you mean 'agent_grid'",
        ),
        (
            lambda: Pyramid(**SMALL, mixers={"type": "agent", "agent_grid": 5}),
            r"token mixer 'agent' cannot be built from agent_grid=5 \(.*correct the value of wrong type",
        ),
        (lambda: Pyramid(**SMALL, mixers={"type": "library"}), "token mixer 'library' cannot be built.*'module'"),
        (lambda: Pyramid(**SMALL, mixers={"num_anchors": 3}), "a token mixer is a name or a dict with the key 'type'"),
        (lambda: Pyramid(**SMALL, out_indices=(2, 1)), r"out_indices=\(2, 1\) must be stages out of"),
        (lambda: Pyramid(**SMALL, frozen_stages=5), "frozen_stages=5 must be -1"),
        (lambda: Pyramid(**SMALL, drop_path_rate=1.0), "drop_path_rate=1.0 must be at least 0 and below 1"),
        (lambda: Pyramid(**SMALL)(torch.zeros(1, 3, 20, 64)), "20 x 64 pixels .* smaller than the largest stride 32"),
    ],
)
def test_bad_input_says_what_it_is_and_how_to_mend_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unknown_argument_is_a_type_error_that_names_it():
    with pytest.raises(TypeError, match="embed_dims"):
        effvit_mm.create_backbone("anchorformer_t", embed_dims=3)
