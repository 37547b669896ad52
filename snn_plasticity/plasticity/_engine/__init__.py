"""Many steps at once: spikes wait, and e or a weight change is worked out of them by the way that is exact and fast.

    spikes ─► window_terms ─► folding, clamp ─► stepping ─► engine

Bottom up: what waits; what a kernel says of a window; how that is folded, bounded or stepped through; when to do it.
"""
