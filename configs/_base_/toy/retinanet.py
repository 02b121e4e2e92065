# A light RetinaNet head and anchors for objects of 14 to 100 pixels; the architecture stays.
_base_ = "coco.py"

width = 128
model = dict(
    neck=dict(out_channels=width),
    bbox_head=dict(
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        num_classes=3,
        anchor_generator=dict(octave_base_scale=2),
    ),
)
