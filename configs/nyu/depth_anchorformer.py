"""Monocular depth with AnchorFormer-S on NYU Depth V2, 25 epochs.

    python tools/train.py configs/nyu/depth_anchorformer.py              # NYU Depth V2 under data/nyu
    python tools/train.py configs/nyu/depth_anchorformer.py --toy        # small rendered rooms, minutes on two cores

Mirrors: no table of the AnchorFormer paper (arXiv 2505.16463), which has no depth; data, augmentation and loss are
BTS's (arXiv 1907.10326), the schedule is AdaBins' (arXiv 2011.14141). Evaluated with Eigen crop and flip.
Expected delta1 and RMSE: not trained here.
Cost: 27.1 G multiply-adds at 480x640 without flip, backbone 16.4 (analytic).
"""

_base_ = [
    "../_base_/models/depth.py",
    "../_base_/datasets/nyu.py",
    "../_base_/schedules/nyu_25e_adamw.py",
    "../_base_/depth_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_anchorformer/epoch_300.pth")).
# Fresh: norms 0, 1, 2.
model = dict(
    backbone=dict(type="AnchorFormer", variant="s"),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
