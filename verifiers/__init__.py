"""What a candidate is worth."""

from .aesthetic import AestheticVerifier
from .base import RankEnsemble, Verifier, WeightedSum
from .clip import CLIPVerifier
from .detector import DetectorVerifier, Verdict
from .loading import load_verifier

__all__ = [
    "AestheticVerifier",
    "CLIPVerifier",
    "DetectorVerifier",
    "RankEnsemble",
    "Verdict",
    "Verifier",
    "WeightedSum",
    "load_verifier",
]
