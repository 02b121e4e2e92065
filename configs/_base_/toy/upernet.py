# UPerNet on toy scenes.
_base_ = ["segmentation.py", "../light_heads/upernet.py"]

model = dict(
    data_preprocessor=dict(size=(128, 160)),
    decode_head=dict(num_classes=5),
    auxiliary_head=dict(num_classes=5),
)
