# A Semantic FPN that trains on two CPU cores; the architecture stays.
width = 64
model = dict(
    neck=dict(out_channels=width),
    decode_head=dict(in_channels=[width] * 4, channels=width),
)
