"""Semantic FPN with ToSA-DeiT-S on ADE20K, 80k iterations, half the tokens in every second layer.

    python tools/train.py configs/ade20k/semfpn_tosa.py --auto-scale-lr  # ADEChallengeData2016 under data/ade
    python tools/train.py configs/ade20k/semfpn_tosa.py --toy # small rendered rooms, minutes on two cores

One run trains in stages: dense, then with a share that falls to `keep`, selectors learning from the start. One run for
each stage (dense, selectors alone, joint under a dense teacher): three commands, docs/tosa.md. DeiT's weights:
tools/convert.py, init_cfg. After an evaluation, kept_tokens.png in the work dir shows what was kept.
Mirrors: no table of the ToSA paper (arXiv 2406.08816), which has no segmenter; recipe: semfpn_anchorformer.py's.
Expected mIoU: not trained here. Cost: 45.6 G multiply-adds at 512x512, backbone 23.9 (analytic).
"""

_base_ = [
    "../_base_/models/semfpn.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedules/ade20k_80k_adamw.py",
    "../_base_/segmentation_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_tosa/epoch_300.pth")).
# Fresh: the pyramid. DeiT's released, by tools/convert.py: "weights/tosa_deit_s_backbone.pth".
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type="ToSADeiT", variant="s", keep=0.5),
    neck=dict(in_channels=[96, 192, 384, 384]),
    decode_head=dict(num_classes=150),
)
# Selectors learn beside the task; the share falls from 1 to `keep` over the first half of the run.
custom_hooks = [
    dict(type="RunReportHook"),
    dict(type="SelectorLossHook"),
    dict(type="KeepAnnealingHook"),
    dict(type="KeptTokensHook"),
]
