"""Other simulators, each playing given spike trains through its own learning rule, on what the benchmarks time.

Where a benchmark puts spikes straight into the monitors of a simulator, layers and neurons are called here, so that
its own hooks put them there. A simulator is imported only inside functions, so that these files load where it is
missing.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
