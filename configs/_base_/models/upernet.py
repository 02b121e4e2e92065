# Stock UPerNet; a leaf names the backbone, both heads' in_channels and classes, and the size of a training picture.
_base_ = "mmseg::_base_/models/upernet_swin.py"

model = dict(backbone=dict(_delete_=True))
