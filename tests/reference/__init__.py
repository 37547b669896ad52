"""The whole learner once more, in NumPy float64, from its documents alone: the oracle of `test_histories`.

    spikes ─► kernel ─► products ─► layer ─► trace ─► e ─┐
                                                         ├─► Δw ─► bounds ─► weight
    signals ─► levels ─► DA ACh NE 5HT ─► g ─────────────┘

Nothing here is taken from the package, not even its settings: fields and defaults are those of the contract. Every
step is taken, one after the other; there are no windows, no shared tables and no shortcuts.
"""

from .gate import Gate as Gate
from .layers import Conv as Conv
from .layers import Dense as Dense
from .layers import Diagonal as Diagonal
from .layers import Edges as Edges
from .learner import Learner as Learner
from .learner import Synapses as Synapses
from .settings import Convention as Convention
from .settings import Eligibility as Eligibility
from .settings import Neuromod as Neuromod
from .settings import ThreeFactor as ThreeFactor
from .traces import Traces as Traces
