"""Semantic FPN (light head) with AnchorFormer-T on CamVid at half size, from scratch in about ten CPU minutes.

    python tools/train.py configs/camvid/semfpn_anchorformer.py --data-root /where/camvid/lies
    python tools/train.py configs/camvid/semfpn_anchorformer.py --toy

An example of `IndexMaskFolder` on one's own pictures; docs/segmentation.md has the layout and CamVid's source.
Mirrors: no paper. Expected mIoU: above 32.4, which 450 iterations with a cycle of that length reached (measured here,
docs/measurements.md); the whole was not measured. Cost: about ten CPU minutes (0.7 s an iteration on one thread); 2.2 G
multiply-adds at 270x360 (analytic).
"""

_base_ = [
    "../_base_/models/semfpn.py",
    "../_base_/datasets/camvid.py",
    "../_base_/schedules/scratch_cpu.py",
    "../_base_/segmentation_runtime.py",
]

model = dict(
    data_preprocessor=dict(size=(176, 224)),
    backbone=dict(type="AnchorFormer", variant="t"),
    neck=dict(in_channels=[32, 64, 160, 256], out_channels=64),
    decode_head=dict(in_channels=[64] * 4, channels=64, num_classes=11),
)
