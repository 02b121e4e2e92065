# The stock 1x with the AdamW of LIT's detectors. lr is for 16 pictures a step; norms and tables of biases do not decay.
_base_ = "mmdet::_base_/schedules/schedule_1x.py"

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=2e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={"norm": dict(decay_mult=0.0), "bias_table": dict(decay_mult=0.0)}),
)
