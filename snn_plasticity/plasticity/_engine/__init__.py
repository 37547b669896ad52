"""Many steps at once: spikes wait, and what somebody asks for is worked out of them by the way that is exact and fast.

    recording ─► said ─► folding ─► e, or a weight change

Bottom up: what a kernel says about a window; how it is folded, bounded, walked or maximised; what has been worked in
so far; when to do it.
"""
