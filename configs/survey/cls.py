"""A classifier of ImageNet-1k at 224x224 with Pyramid-T and any token mixer, 300 epochs.

    python tools/train.py configs/survey/cls.py --auto-scale-lr --cfg-options model.backbone.mixers=efficient
    python tools/train.py configs/survey/cls.py --toy --cfg-options model.backbone.mixers=efficient

The mixer is any of docs/mixers.md, one name or one for each stage; nothing else differs between two of them.
Mirrors: no paper; the recipe of configs/imagenet/cls_anchorformer.py. Expected top-1: not trained here.
Cost: 2.18 G multiply-adds at 224x224 with softmax attention, 0.74 with `efficient` (analytic).
"""

_base_ = [
    "../_base_/models/cls.py",
    "../_base_/schedules/imagenet_300e_adamw.py",
    "../_base_/classification_runtime.py",
]

model = dict(
    backbone=dict(type="Pyramid", variant="t", mixers="self", out_indices=(3,)),
    head=dict(in_channels=256),
)
