# Stock RetinaNet with FPN; a leaf names the backbone and the neck's in_channels.
_base_ = "mmdet::_base_/models/retinanet_r50_fpn.py"

model = dict(backbone=dict(_delete_=True))
