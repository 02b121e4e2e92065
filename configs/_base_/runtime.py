# What every run needs beside its model, data and schedule.
_base_ = "mmdet::_base_/default_runtime.py"

custom_imports = dict(imports=["effvit_mm", "effvit_mm.engine"])
custom_hooks = [dict(type="RunReportHook")]
randomness = dict(seed=0)
# A checkpoint with its optimizer is three times the weights: the last three, and the best by the first figure, which is
# box mAP where COCO's are measured.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, save_best="auto", rule="greater"))
