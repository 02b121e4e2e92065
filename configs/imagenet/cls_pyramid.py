"""The dense yardstick pyramid (softmax attention everywhere) as a classifier of ImageNet-1k at 224x224, 300 epochs.

    python tools/train.py configs/imagenet/cls_pyramid.py --toy   # small rendered objects, minutes on two cores
    torchrun --nproc_per_node 8 tools/train.py configs/imagenet/cls_pyramid.py --launcher pytorch --auto-scale-lr

Mirrors: no paper; the recipe of cls_anchorformer.py, from which it differs in the token mixer alone.
Expected top-1: not trained here. Cost: 5.78 G multiply-adds at 224x224 (analytic).
"""

_base_ = [
    "../_base_/models/cls.py",
    "../_base_/schedules/imagenet_300e_adamw.py",
    "../_base_/classification_runtime.py",
]

model = dict(
    backbone=dict(type="Pyramid", variant="s", out_indices=(3,)),
    head=dict(in_channels=512),
)
