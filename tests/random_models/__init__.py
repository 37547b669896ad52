"""Random small models of snnTorch and Norse, each held against hooks and sums that share no code with the package.

draw      from a seed to the description of a model and of the runs it is put through
text      from the description to a program
shadows   tensors that know where their elements come from: what the program means, without torch
judge     the program on torch, its hooks, and Δw in NumPy float64
"""
