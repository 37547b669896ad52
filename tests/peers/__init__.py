"""Other simulators, each replaying given spike trains through its own learning rule.

Functions take arrays pre (T, B, N_pre) and post (T, B, N_post) and give the weight change of every step,
(T, N_post, N_pre). A simulator is imported only inside them, so that these files load where it is missing.
"""
