# NYU Depth V2 in BTS's layout: 24,231 training pairs, 654 test pairs, depth in millimetres.
data_root = "data/nyu/"
dataset = dict(type="DepthListDataset", data_root=data_root, depth_scale=1000.0, max_depth=10.0)
meta_keys = ("img_path", "depth_map_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadDepth"),
    dict(type="BorderCrop", rows=(45, 472), columns=(43, 608), size=(480, 640)),
    # BTS rotates every picture.
    dict(type="RandomRotate", prob=1.0, degree=2.5, pad_val=0, seg_pad_val=0),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomCrop", crop_size=(416, 544)),
    dict(type="RandomGammaBrightnessColor", prob=0.5, gamma=(0.9, 1.1), brightness=(0.75, 1.25), color=(0.9, 1.1)),
    dict(type="PackSegInputs", meta_keys=meta_keys),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadDepth"),
    dict(type="PackSegInputs", meta_keys=meta_keys),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        **dataset,
        ann_file="nyu_train.txt",
        data_prefix=dict(img_path="sync", depth_map_path="sync"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **dataset,
        ann_file="nyu_test.txt",
        data_prefix=dict(img_path="official_splits/test", depth_map_path="official_splits/test"),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="MonoDepthMetric", min_depth=1e-3, max_depth=10.0, eigen_crop=True)
test_evaluator = val_evaluator
