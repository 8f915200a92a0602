"""What a candidate is worth."""

from ..models.fashion_classifier import FashionClassifier
from .aesthetic import AestheticVerifier
from .base import RankEnsemble, Verifier, VerifierUnavailable, WeightedSum
from .callable import CallableVerifier
from .classifier import ClassVerifier
from .clip import CLIPVerifier
from .detector import DetectorVerifier, Verdict
from .identity import told_apart
from .loading import load_verifier
from .preference import PreferenceVerifier
from .self_supervised import SelfSupervisedVerifier
from .vlm import VLMVerifier

__all__ = [
    "AestheticVerifier",
    "CLIPVerifier",
    "CallableVerifier",
    "ClassVerifier",
    "DetectorVerifier",
    "FashionClassifier",
    "PreferenceVerifier",
    "RankEnsemble",
    "SelfSupervisedVerifier",
    "VLMVerifier",
    "Verdict",
    "Verifier",
    "VerifierUnavailable",
    "WeightedSum",
    "load_verifier",
    "told_apart",
]
