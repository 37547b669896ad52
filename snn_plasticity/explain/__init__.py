"""Why a weight moved: the spike pairs, what its trace kept of them, and the gate that they met."""

from .explanation import Eligibility as Eligibility
from .explanation import Explanation as Explanation
from .explanation import SpikePair as SpikePair
from .explanation import SpikeTimes as SpikeTimes
from .landings import OtherCause as OtherCause
from .why import explain as explain

__all__ = ["Eligibility", "Explanation", "OtherCause", "SpikePair", "SpikeTimes", "explain"]
