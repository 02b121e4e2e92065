"""Monocular depth with Pyramid-S and one linear layer on its maps on NYU Depth V2, 25 epochs.

    python tools/train.py configs/nyu/depth_pyramid_linear.py       # NYU Depth V2 under data/nyu
    python tools/train.py configs/nyu/depth_pyramid_linear.py --toy # small rendered rooms, minutes on two cores

What the features know of depth without a decoder: depth_pyramid.py with the linear head of DINOv2 (arXiv 2304.07193),
which predicts 256 bins, on four scales in place of the last layers. The backbone learns as well; with the options
load_from=CHECKPOINT model.backbone.frozen_stages=4 the head learns alone.
Mirrors: no table; data, schedule and evaluation are those of depth_pyramid.py. Expected delta1 and RMSE: not trained
here. Cost: 129.7 G multiply-adds at 480x640 without flip, backbone 129.1 (analytic).
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
    decode_head=dict(type="LinearDepthHead", in_channels=[64, 128, 320, 512], output="bins"),
)
