# Stock classifier of Swin on ImageNet: average pooling, a linear head, label smoothing, mixup and cutmix in turn.
# A leaf names the backbone and the head's in_channels.
_base_ = [
    "mmpretrain::_base_/models/swin_transformer/tiny_224.py",
    "mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py",
]

# The stock data set keeps this beside the model, where only MMEngine's Runner would find it.
model = dict(backbone=dict(_delete_=True), data_preprocessor={{_base_.data_preprocessor}})
