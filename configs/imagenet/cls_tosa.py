"""ToSA-DeiT-S as a classifier of ImageNet-1k at 224x224, half of the tokens in every second layer, 300 epochs.

    python tools/train.py configs/imagenet/cls_tosa.py --toy   # small rendered objects, minutes on two cores
    torchrun --nproc_per_node 8 tools/train.py configs/imagenet/cls_tosa.py --launcher pytorch --auto-scale-lr

One run trains in stages: dense at first, then with a share that falls to `keep`, selectors learning from the start; one
run for each stage, and a dense teacher's maps, features and logits: docs/tosa.md.
Mirrors: the recipe of DeiT and Swin (arXiv 2012.12877, 2103.14030); the one of the ToSA paper (arXiv 2406.08816) is not
known. The class token is read, as in DeiT. Expected top-1: not trained here.
Cost: 3.49 G multiply-adds at 224x224 (analytic).
"""

_base_ = [
    "../_base_/models/cls.py",
    "../_base_/schedules/imagenet_300e_adamw.py",
    "../_base_/classification_runtime.py",
]

model = dict(
    backbone=dict(type="ToSADeiT", variant="s", keep=0.5, out_indices=(2,), class_token=True),
    neck=None,
    head=dict(in_channels=384),
)
# Selectors learn beside the task; the share falls from 1 to `keep` over the first half of the run.
custom_hooks = [
    dict(type="RunReportHook"),
    dict(type="SelectorLossHook"),
    dict(type="KeepAnnealingHook"),
    dict(type="KeptTokensHook"),
]
