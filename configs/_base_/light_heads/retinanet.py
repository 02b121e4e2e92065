# A RetinaNet head that trains on two CPU cores, and anchors of 16 pixels and up; the architecture stays.
width = 128
model = dict(
    neck=dict(out_channels=width),
    bbox_head=dict(in_channels=width, feat_channels=width, stacked_convs=2, anchor_generator=dict(octave_base_scale=2)),
)
