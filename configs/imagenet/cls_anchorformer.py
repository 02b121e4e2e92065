"""AnchorFormer-S as a classifier of ImageNet-1k at 224x224, 300 epochs.

    python tools/train.py configs/imagenet/cls_anchorformer.py --toy   # small rendered objects, minutes on two cores
    torchrun --nproc_per_node 8 tools/train.py configs/imagenet/cls_anchorformer.py --launcher pytorch --auto-scale-lr

Mirrors: the recipe of DeiT and Swin (arXiv 2012.12877, 2103.14030: AdamW, lr 1e-3 for 1024 pictures, RandAugment,
mixup, cutmix, label smoothing, random erasing). Expected top-1: not trained here; the figures of the AnchorFormer paper
(arXiv 2505.16463) are of another network of that budget. Cost: 2.68 G multiply-adds at 224x224 (analytic).
"""

_base_ = [
    "../_base_/models/cls.py",
    "../_base_/schedules/imagenet_300e_adamw.py",
    "../_base_/classification_runtime.py",
]

model = dict(
    backbone=dict(type="AnchorFormer", variant="s", out_indices=(3,)),
    head=dict(in_channels=512),
)
