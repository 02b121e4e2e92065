"""UPerNet with AnchorFormer-S on ADE20K, 160k iterations.

    python tools/train.py configs/ade20k/upernet_anchorformer.py --auto-scale-lr  # ADEChallengeData2016 under data/ade
    python tools/train.py configs/ade20k/upernet_anchorformer.py --toy     # small rendered rooms, minutes on two cores

Mirrors: no table of the AnchorFormer paper (arXiv 2505.16463); the recipe is Swin's for UPerNet (arXiv 2103.14030,
stock config of mmsegmentation: AdamW, lr 6e-5, weight decay 0.01, batch 16, warm-up of 1500 iterations).
Expected mIoU: not trained here. Cost: 224.6 G multiply-adds at 512x512, backbone 14.0 (analytic).
"""

_base_ = [
    "../_base_/models/upernet.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedules/ade20k_160k_adamw.py",
    "../_base_/segmentation_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_anchorformer/epoch_300.pth")).
# Fresh: norms 0, 1, 2.
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type="AnchorFormer", variant="s"),
    decode_head=dict(in_channels=[64, 128, 320, 512], num_classes=150),
    auxiliary_head=dict(in_channels=320, num_classes=150),
)
