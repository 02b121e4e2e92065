"""UPerNet with Pyramid-T and any token mixer on ADE20K, 160k iterations.

    python tools/train.py configs/survey/upernet.py --auto-scale-lr --cfg-options model.backbone.mixers=efficient
    python tools/train.py configs/survey/upernet.py --toy --cfg-options model.backbone.mixers=efficient

The mixer is any of docs/mixers.md, one name or one for each stage; nothing else differs between two of them.
Mirrors: no table; the recipe of configs/ade20k/upernet_anchorformer.py. Expected mIoU: not trained here.
Cost: 253.6 G multiply-adds at 512x512 with softmax attention, backbone 43.8; 213.7 with `efficient`, backbone 3.8
(analytic).
"""

_base_ = [
    "../_base_/models/upernet.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedules/ade20k_160k_adamw.py",
    "../_base_/segmentation_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls/epoch_300.pth")).
# Fresh: norms 0, 1, 2. The classifier has the same mixers.
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type="Pyramid", variant="t", mixers="self"),
    decode_head=dict(in_channels=[32, 64, 160, 256], num_classes=150),
    auxiliary_head=dict(in_channels=160, num_classes=150),
)
