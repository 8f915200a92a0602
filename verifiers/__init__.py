"""What a candidate is worth."""

from .aesthetic import AestheticVerifier
from .base import RankEnsemble, Verifier, WeightedSum
from .classifier import ClassVerifier, FashionClassifier
from .clip import CLIPVerifier
from .detector import DetectorVerifier, Verdict
from .loading import load_verifier

__all__ = [
    "AestheticVerifier",
    "CLIPVerifier",
    "ClassVerifier",
    "DetectorVerifier",
    "FashionClassifier",
    "RankEnsemble",
    "Verdict",
    "Verifier",
    "WeightedSum",
    "load_verifier",
]
