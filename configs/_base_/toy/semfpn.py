# Semantic FPN on toy scenes.
_base_ = ["segmentation.py", "../light_heads/semfpn.py"]

model = dict(data_preprocessor=dict(size=(128, 160)), decode_head=dict(num_classes=5))
