"""Monocular depth with Pyramid-S and a transformer context bridge on NYU Depth V2, 25 epochs.

    python tools/train.py configs/nyu/depth_pyramid_bridge.py       # NYU Depth V2 under data/nyu
    python tools/train.py configs/nyu/depth_pyramid_bridge.py --toy # small rendered rooms, minutes on two cores

Before the decoder, every place of every scale attends to reduced places of all scales, two layers deep; the backbone's
first two stages are linear in the pixels. Mirrors: no table; the bridge is MISSFormer's (arXiv 2109.07162), whose task
is another; data, schedule and evaluation are those of depth_pyramid.py. Expected delta1 and RMSE: not trained here.
Cost: 53.3 G multiply-adds at 480x640 without flip, backbone 23.1, bridge 19.5 (analytic).
"""

_base_ = [
    "../_base_/models/depth.py",
    "../_base_/datasets/nyu.py",
    "../_base_/schedules/nyu_25e_adamw.py",
    "../_base_/depth_runtime.py",
]

custom_imports = dict(imports=["effvit_mm", "effvit_mm.engine", "effvit_mm.depth", "effvit_mm.necks"])
# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_pyramid/epoch_300.pth")).
# Fresh: norms 0, 1, 2. cls_pyramid.py is given these mixers.
model = dict(
    backbone=dict(type="Pyramid", variant="s", mixers=("efficient", "efficient", "self", "self")),
    # Keys at stride 64; the paper's ratios, for stride 32, would cost four times the attention.
    neck=dict(
        type="ContextBridge",
        in_channels=[64, 128, 320, 512],
        num_layers=2,
        reduction_ratios=[16, 8, 4, 2],
        with_cp=True,
    ),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
