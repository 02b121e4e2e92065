"""Monocular depth with ToSA-DeiT-S on NYU Depth V2, 25 epochs, half the tokens in every second layer.

    python tools/train.py configs/nyu/depth_tosa.py       # NYU Depth V2 under data/nyu
    python tools/train.py configs/nyu/depth_tosa.py --toy # small rendered rooms, minutes on two cores

One run trains in stages: dense, then with a share that falls to `keep`, selectors learning from the start. One run for
each stage (dense, selectors alone, joint under a dense teacher): three commands, docs/tosa.md. DeiT's weights:
tools/convert.py, init_cfg. After an evaluation, kept_tokens.png in the work dir shows what was kept.
Mirrors: the ToSA paper's dense task (arXiv 2406.08816); recipe: depth_anchorformer.py's.
Expected delta1 and RMSE: not trained here. Cost: 40.0 G multiply-adds at 480x640, backbone 29.2 (analytic).
"""

_base_ = [
    "../_base_/models/depth.py",
    "../_base_/datasets/nyu.py",
    "../_base_/schedules/nyu_25e_adamw.py",
    "../_base_/depth_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_tosa/epoch_300.pth")).
# Fresh: norms 2, 5, 8; the pyramid. DeiT's released, by tools/convert.py: "weights/tosa_deit_s_backbone.pth".
model = dict(
    backbone=dict(type="ToSADeiT", variant="s", keep=0.5, taps=(2, 5, 8, 11)),
    decode_head=dict(in_channels=[96, 192, 384, 384]),
)
# Selectors learn beside the task; the share falls from 1 to `keep` over the first half of the run.
custom_hooks = [
    dict(type="RunReportHook"),
    dict(type="SelectorLossHook"),
    dict(type="KeepAnnealingHook"),
    dict(type="KeptTokensHook"),
]
