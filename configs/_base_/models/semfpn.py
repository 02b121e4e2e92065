# Stock Semantic FPN; a leaf names the backbone, the neck's in_channels, the classes and the size of a training picture.
_base_ = "mmseg::_base_/models/fpn_r50.py"

# EncoderDecoder would hand `pretrained` to the backbone.
model = dict(pretrained=None, backbone=dict(_delete_=True))
