"""LIT-S as a classifier of ImageNet-1k at 224x224, 300 epochs.

    python tools/train.py configs/imagenet/cls_lit.py --toy   # small rendered objects, minutes on two cores
    torchrun --nproc_per_node 8 tools/train.py configs/imagenet/cls_lit.py --launcher pytorch --auto-scale-lr

Mirrors: the ImageNet row of LIT-S in the README of the released code (https://github.com/ziplab/LIT, arXiv 2105.14217):
AdamW, lr 1e-3 for 1024 pictures, 20 epochs of warm-up, gradients clipped at 5.
Expected top-1 (that README): 81.5. Not trained here.
Cost: 4.08 G multiply-adds at 224x224 (analytic).
"""

_base_ = [
    "../_base_/models/cls.py",
    "../_base_/schedules/imagenet_300e_lit.py",
    "../_base_/classification_runtime.py",
]

model = dict(
    backbone=dict(type="LIT", variant="s", out_indices=(3,)),
    head=dict(in_channels=768),
)
