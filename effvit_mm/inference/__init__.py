"""Predictions of a trained model on pictures and videos that belong to no data set.

In three lines::

    from effvit_mm.inference import Predictor
    predict = Predictor("work_dirs/maskrcnn_anchorformer/maskrcnn_anchorformer.py", "epoch_6.pth")
    results = predict(["kitchen.jpg", "street.jpg"])
"""

from effvit_mm.inference.predictor import Prediction, Predictor
from effvit_mm.inference.run import infer
from effvit_mm.inference.sources import Picture

__all__ = ["Picture", "Prediction", "Predictor", "infer"]
