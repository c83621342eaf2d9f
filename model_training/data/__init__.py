"""Collections of studies, read from whatever layout they come in."""

from model_training.data.collection import SPLITS, Collection, Problem
from model_training.data.readers import LAYOUTS, read_collection
from model_training.data.study import Split, Study, StudyImage, View

__all__ = ["LAYOUTS", "SPLITS", "Collection", "Problem", "Split", "Study", "StudyImage", "View", "read_collection"]
