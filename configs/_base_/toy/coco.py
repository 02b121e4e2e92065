# Toy scenes in COCO's layout, and a schedule for two CPU cores.
toy_scenes = dict(root="data/toy_scenes", num_train=300, num_val=60, size=(128, 160))

data_root = "data/toy_scenes/coco/"
metainfo = dict(classes=("box", "sphere", "cylinder"), palette=[(220, 60, 60), (60, 180, 75), (65, 105, 225)])

# Pictures are used as rendered: nothing is resized, so nothing is cropped larger than a picture.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(160, 128), keep_ratio=True),
    # Behind Resize, as in the stock configs: what is drawn and measured is in pixels of the picture.
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
# Whole, so that a config of one's own data is put on toy scenes, too.
dataset = dict(type="CocoDataset", data_root=data_root, metainfo=metainfo)
training = dict(
    ann_file="annotations/instances_train2017.json",
    data_prefix=dict(img="train2017/"),
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=train_pipeline,
)
validation = dict(
    ann_file="annotations/instances_val2017.json",
    data_prefix=dict(img="val2017/"),
    test_mode=True,
    pipeline=test_pipeline,
)
train_dataloader = dict(batch_size=4, num_workers=2, dataset=dict(_delete_=True, **dataset, **training))
val_dataloader = dict(batch_size=4, num_workers=2, dataset=dict(_delete_=True, **dataset, **validation))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator

# 75 steps an epoch; one cycle of the learning rate, gradients clipped.
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="PerGroupOneCycleLR", eta_max=5e-4, total_steps=75 * max_epochs, by_epoch=False),
]
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=1.0))
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=2))
