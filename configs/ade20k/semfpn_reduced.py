"""Semantic FPN with DeiT-S on fewer and fewer tokens (DynamicViT) on ADE20K, 80k iterations.

    python tools/train.py configs/ade20k/semfpn_reduced.py --auto-scale-lr  # ADEChallengeData2016 under data/ade
    python tools/train.py configs/ade20k/semfpn_reduced.py --toy # small rendered rooms, minutes on two cores

Before blocks 3, 6 and 9 a predictor keeps 0.7 of the tokens; the others wait, and return where a map is read. Training
attends to all tokens, without a fused kernel. DeiT's weights: tools/convert.py, init_cfg. EViT's selection instead:
model.backbone.reducers.type=class_attention, and no AuxiliaryLossHook.
Mirrors: no table of DynamicViT (arXiv 2106.02034), a classifier; recipe: semfpn_anchorformer.py's.
Expected mIoU: not trained here. Cost: 41.7 G multiply-adds at 512x512, backbone 20.0 (analytic).
"""

_base_ = [
    "../_base_/models/semfpn.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedules/ade20k_80k_adamw.py",
    "../_base_/segmentation_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="weights/reduced_deit_s_backbone.pth")).
# It is what tools/convert.py makes of DeiT's released weights.
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type="ReducedDeiT", variant="s", reducers=dict(type="predicted", keep=0.7)),
    neck=dict(in_channels=[96, 192, 384, 384]),
    decode_head=dict(num_classes=150),
)
# The predictors learn beside the task to keep their share.
custom_hooks = [dict(type="RunReportHook"), dict(type="AuxiliaryLossHook")]
