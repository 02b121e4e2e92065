"""Monocular depth with the dense yardstick Pyramid-S on NYU Depth V2, 25 epochs.

    python tools/train.py configs/nyu/depth_pyramid.py              # NYU Depth V2 under data/nyu
    python tools/train.py configs/nyu/depth_pyramid.py --toy        # small rendered rooms, minutes on two cores

Softmax attention in every stage, else AnchorFormer-S; wants a fused attention kernel, for 19,200 tokens at 480x640.
Mirrors: no table; data, augmentation and loss are BTS's (arXiv 1907.10326), the schedule is AdaBins' (arXiv
2011.14141). Evaluated with Eigen crop and flip.
Expected delta1 and RMSE: not trained here.
Cost: 139.7 G multiply-adds at 480x640 without flip, backbone 129.1 (analytic).
"""

_base_ = [
    "../_base_/models/depth.py",
    "../_base_/datasets/nyu.py",
    "../_base_/schedules/nyu_25e_adamw.py",
    "../_base_/depth_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_pyramid/epoch_300.pth")).
# Fresh: norms 0, 1, 2.
model = dict(
    backbone=dict(type="Pyramid", variant="s"),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
