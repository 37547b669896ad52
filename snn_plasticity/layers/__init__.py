"""How the synapses of a layer are laid out, and `SparseLinear`, a layer of torch whose synapses are edges."""

from .dense import Dense as Dense
from .edges import Edges as Edges
from .geometry import Geometry as Geometry
from .sparse_linear import SparseLinear as SparseLinear
from .synapses import geometry_of as geometry_of

__all__ = ["Dense", "Edges", "Geometry", "SparseLinear", "geometry_of"]
