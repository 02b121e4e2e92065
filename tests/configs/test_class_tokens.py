"""Columnar networks read their class token in mmpretrain's classifier, and what would misread it is refused."""

import pytest
import torch
from cases import BACKBONES, ROOT, SMALL_PLAIN, needs_mmpretrain

import effvit_mm
from effvit_mm.engine.model_check import check_model
from effvit_mm.engine.run import load_config
from effvit_mm.errors import BadInputError

pytestmark = needs_mmpretrain

TOSA = ROOT / "configs/imagenet/cls_tosa.py"
POOLING = dict(_delete_=True, type="GlobalAveragePooling")
COLUMNAR = ("DeiT", "ToSADeiT", "AnchorDeiT", "ReducedDeiT", "Plain")


def classifier(kind):
    from mmengine.registry import MODELS, DefaultScope

    # Its own number is 0 for Plain, and 2 for AnchorDeiT.
    spec = dict(type=kind, **SMALL_PLAIN, num_prefix=1, out_indices=(2,), class_token=True)
    cfg = load_config(TOSA, options={"model.head.in_channels": 24, "model.head.num_classes": 5})
    cfg.model.backbone = spec
    cfg.model.train_cfg = None  # no mixtures
    cfg.model.data_preprocessor.num_classes = 5
    check_model(cfg)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(cfg.model)


def samples(labels):
    from mmpretrain.structures import DataSample

    return [DataSample().set_gt_label(label) for label in labels]


@pytest.mark.parametrize("kind", COLUMNAR)
def test_a_step_and_a_prediction_read_the_class_token_alone(kind):
    torch.manual_seed(0)
    model = classifier(kind).train()
    pictures = torch.randn(3, 3, 64, 80)
    losses = model(pictures, samples([0, 4, 2]), mode="loss")
    losses["loss"].backward()
    assert losses["loss"].ndim == 0
    assert model.backbone.prefix.tokens.grad.abs().sum() > 0

    model.eval()
    with torch.no_grad():
        (token,) = model.backbone(pictures)
        predicted = model(pictures, samples([0, 4, 2]), mode="predict")
    assert token.shape == (3, 24)
    scores = torch.stack([sample.pred_score for sample in predicted])
    torch.testing.assert_close(scores, model.head.fc(token).softmax(-1))
    assert [sample.pred_label.shape for sample in predicted] == [(1,)] * 3


def test_our_classifier_scores_the_same_token():
    network = effvit_mm.create_classifier("tosa_deit_s", 5, **SMALL_PLAIN).eval()
    pictures = torch.randn(2, 3, 64, 80)
    torch.testing.assert_close(network(pictures), network.head(network.backbone(pictures)[0]))


@pytest.mark.parametrize(
    ("leaf", "options", "message"),
    [
        ("cls_tosa", {"model.neck": POOLING}, "returns its class token .* model.neck=None"),
        ("cls_lit_ti", {"model.neck": POOLING}, "returns its class token .* model.neck=None"),
        ("cls_tosa", {"model.backbone.num_prefix": 2}, "ToSADeiT returns 2 tokens .* model.backbone.num_prefix=1"),
    ],
)
def test_what_would_misread_a_class_token_is_refused(leaf, options, message):
    cfg = load_config(ROOT / f"configs/imagenet/{leaf}.py", options=options)
    with pytest.raises(BadInputError, match=message):
        check_model(cfg)


@pytest.mark.parametrize("name", ["deit", "tosa_deit"])
def test_two_tokens_are_returned_as_two(name):
    backbone = BACKBONES[name](num_prefix=2, class_token=True, out_indices=(2,))
    assert backbone(torch.randn(2, 3, 64, 80))[0].shape == (2, 2, 24)
