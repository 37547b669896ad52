"""Layers that stand in for those of torch where synapses are few: each synapse is an edge."""

from .sparse_linear import SparseLinear as SparseLinear

__all__ = ["SparseLinear"]
