"""UPerNet with LIT-Ti on ADE20K, 160k iterations.

    python tools/train.py configs/ade20k/upernet_lit_ti.py --auto-scale-lr  # ADEChallengeData2016 under data/ade
    python tools/train.py configs/ade20k/upernet_lit_ti.py --toy  # small rendered rooms, minutes on two cores

Mirrors: no row of LIT's paper (arXiv 2105.14217); the recipe is Swin's for UPerNet (AdamW, lr 6e-5, weight decay 0.01,
batch 16), from ImageNet weights (tools/convert.py takes these in). Expected mIoU: not trained here.
Cost: 232.9 G multiply-adds at 512x512 (analytic).
"""

_base_ = [
    "../_base_/models/upernet.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedules/ade20k_160k_adamw.py",
    "../_base_/segmentation_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_lit_ti/epoch_300.pth")).
# Fresh: nothing; the class token is left out. LIT's released, by tools/convert.py: "weights/lit_ti_backbone.pth".
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type="LIT", variant="ti"),
    decode_head=dict(in_channels=[64, 128, 320, 512], num_classes=150),
    auxiliary_head=dict(in_channels=320, num_classes=150),
)
