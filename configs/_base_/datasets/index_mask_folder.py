# Pictures in one folder, index masks of the same names in another, in ADE20K's layout; sizes and augmentation as stock
# ADE20K. A leaf names data_root and the classes.
_base_ = "mmseg::_base_/datasets/ade20k.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(2048, 512), keep_ratio=True),
    # Behind Resize: predictions are measured on the mask as it is.
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(dataset=dict(type="IndexMaskFolder", pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type="IndexMaskFolder", pipeline=test_pipeline))
test_dataloader = val_dataloader
