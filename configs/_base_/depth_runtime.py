# What every run of a depth estimator needs beside its model, data and schedule.
_base_ = "mmseg::_base_/default_runtime.py"

custom_imports = dict(imports=["effvit_mm", "effvit_mm.engine", "effvit_mm.depth"])
custom_hooks = [dict(type="RunReportHook")]
visualizer = dict(type="DepthVisualizer")
randomness = dict(seed=0)
# Schedules of depth count epochs.
log_processor = dict(by_epoch=True)
