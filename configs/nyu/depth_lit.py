"""Monocular depth with LIT-S on NYU Depth V2, 25 epochs.

    python tools/train.py configs/nyu/depth_lit.py              # NYU Depth V2 under data/nyu
    python tools/train.py configs/nyu/depth_lit.py --toy        # small rendered rooms, minutes on two cores

Mirrors: no table of LIT's paper (arXiv 2105.14217), which has no depth; data, augmentation and loss are BTS's (arXiv
1907.10326), the schedule is AdaBins' (arXiv 2011.14141). Evaluated with Eigen crop and flip.
Expected delta1 and RMSE: not trained here.
Cost: 41.5 G multiply-adds at 480x640 without flip, backbone 30.7 (analytic).
"""

_base_ = [
    "../_base_/models/depth.py",
    "../_base_/datasets/nyu.py",
    "../_base_/schedules/nyu_25e_adamw.py",
    "../_base_/depth_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_lit/epoch_300.pth")).
# Fresh: norms 0, 1, 2. LIT's released, by tools/convert.py: "weights/lit_s_backbone.pth".
model = dict(
    backbone=dict(type="LIT", variant="s"),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)
