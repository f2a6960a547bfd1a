"""The controls of the evaluation protocol: what a decoder without the brain, or without decoding, would have scored.

Made from decoded or training material and scored directly: `shuffled_brain`, `mean_training_stimulus`,
`nearest_training_stimulus`, `oracle_class_mean`. Made before the stages, which they pass like decoded predictions:
`noise_input_signal` (predict from it), `prior_only_predictions`, `metadata_only`, `mask_only`.
"""

from braindec.metrics.control_mask import mask_only
from braindec.metrics.control_predictions import metadata_only, noise_input_signal, prior_only_predictions
from braindec.metrics.control_shuffle import shuffled_brain
from braindec.metrics.control_training import mean_training_stimulus, nearest_training_stimulus, oracle_class_mean

__all__ = [
    "mask_only",
    "mean_training_stimulus",
    "metadata_only",
    "nearest_training_stimulus",
    "noise_input_signal",
    "oracle_class_mean",
    "prior_only_predictions",
    "shuffled_brain",
]
