"""Frozen data types that travel between braindec's parts; all others import them from here."""

from braindec.types.errors import DataError
from braindec.types.evidence import CeilingRule, Direction, Evidence, Scores
from braindec.types.predictions import PREDICTION_COLUMNS, Predictions, Reconstructions, TargetEmbeddings
from braindec.types.recordings import TRIAL_COLUMNS, Fold, Series, Space, SpaceKind, Trials, Unit
from braindec.types.stimuli import ImageArray, ImageRows, QuestionAnswers, Stimuli

__all__ = [
    "PREDICTION_COLUMNS",
    "TRIAL_COLUMNS",
    "CeilingRule",
    "DataError",
    "Direction",
    "Evidence",
    "Fold",
    "ImageArray",
    "ImageRows",
    "Predictions",
    "QuestionAnswers",
    "Reconstructions",
    "Scores",
    "Series",
    "Space",
    "SpaceKind",
    "Stimuli",
    "TargetEmbeddings",
    "Trials",
    "Unit",
]
