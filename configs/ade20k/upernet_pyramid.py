"""UPerNet with the dense yardstick Pyramid-S on ADE20K, 160k iterations.

    python tools/train.py configs/ade20k/upernet_pyramid.py --auto-scale-lr  # ADEChallengeData2016 under data/ade
    python tools/train.py configs/ade20k/upernet_pyramid.py --toy         # small rendered rooms, minutes on two cores

Softmax attention in every stage, else AnchorFormer-S. Mirrors: no table; the recipe is Swin's for UPerNet (arXiv
2103.14030, stock config of mmsegmentation: AdamW, lr 6e-5, weight decay 0.01, batch 16, warm-up of 1500 iterations).
Expected mIoU: not trained here. Cost: 306.8 G multiply-adds at 512x512, backbone 96.1 (analytic).
"""

_base_ = [
    "../_base_/models/upernet.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedules/ade20k_160k_adamw.py",
    "../_base_/segmentation_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_pyramid/epoch_300.pth")).
# Fresh: norms 0, 1, 2.
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type="Pyramid", variant="s"),
    decode_head=dict(in_channels=[64, 128, 320, 512], num_classes=150),
    auxiliary_head=dict(in_channels=320, num_classes=150),
)
