# Backbone and light pyramid decoder; a leaf names the backbone and the head's in_channels.
model = dict(
    type="MonoDepthEstimator",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size_divisor=1,
        pad_val=0,
        # 0 is "nothing measured"; the default of 255 would count as metres.
        seg_pad_val=0,
    ),
    decode_head=dict(
        type="PyramidDepthHead",
        in_index=[0, 1, 2, 3],
        output="sigmoid",
        min_depth=1e-3,
        max_depth=10.0,
        # BTS's, which learns from depth beyond 0.1 m.
        loss_decode=[dict(type="SILogLoss", lambd=0.85, alpha=10.0, min_depth=0.1)],
    ),
    train_cfg=dict(),
    # AdaBins' figures are of the mean with the mirrored picture; mode="whole" predicts once, as BTS does.
    test_cfg=dict(mode="whole_flip"),
)
