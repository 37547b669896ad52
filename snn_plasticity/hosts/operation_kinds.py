"""What the operations of PyTorch do to the elements of a tensor, by name: keep them, move them, write over them.

What is on none of these lists mixes, so that nothing is taken for unit by unit without being known to be.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Every element of the result comes of the elements at the same place: arithmetic, activations, dropout, normalisation.
UNIT_BY_UNIT = _names(
    """add sub rsub radd iadd isub mul rmul imul multiply subtract div rdiv truediv rtruediv itruediv true_divide divide
    floor_divide floordiv neg negative pos positive abs absolute pow rpow ipow float_power exp exp2 expm1 log log1p log2
    log10 sqrt rsqrt square reciprocal sign sgn sin cos tan sinh cosh tanh asin acos atan atan2 erf erfc sigmoid logit
    logsigmoid relu relu6 elu selu celu gelu silu mish leaky_relu rrelu prelu hardtanh hardsigmoid hardswish hardshrink
    softshrink tanhshrink softplus softsign threshold clamp clip clamp_min clamp_max round floor ceil trunc fix frac
    fmod remainder mod maximum minimum fmax fmin lerp addcmul addcdiv copysign hypot nan_to_num heaviside masked_fill
    dropout alpha_dropout feature_dropout dropout1d dropout2d dropout3d feature_alpha_dropout bernoulli
    batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm normalize renorm
    to float double half bfloat16 type type_as clone contiguous detach cpu cuda requires_grad gt lt ge le eq ne greater
    less greater_equal less_equal logical_not logical_and logical_or logical_xor bool xor and or invert"""
)
# Every element of the result is one of the first argument, at another place.
MOVES_ONE = _names(
    """getitem index_select gather take take_along_dim masked_select repeat repeat_interleave tile roll flip fliplr
    flipud rot90 reshape flatten unflatten view reshape_as view_as permute transpose swapaxes swapdims movedim moveaxis
    t squeeze unsqueeze expand expand_as broadcast_to ravel narrow narrow_copy select select_copy slice_copy unfold_copy
    pixel_shuffle pixel_unshuffle channel_shuffle diagonal_copy permute_copy view_copy expand_copy"""
)
# Every element of the result is one of the tensors in the arguments.
MOVES_MANY = _names("cat concat concatenate stack hstack vstack dstack column_stack row_stack where")
# What is read out here may come back by ways that nobody can watch: through these.
ESCAPES = _names("numpy tolist array dlpack to_dlpack data_ptr untyped_storage storage share_memory")
FROM_OUTSIDE = _names("tensor as_tensor asarray from_numpy frombuffer from_dlpack")
# Only shape, kind and device of the first argument matter.
FRESH = _names(
    """zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_empty new_full
    new_tensor new_empty_strided"""
)
# Something is written over the first argument, or a part of it: from the last argument, or from nowhere.
WRITES = _names("copy setitem index_put")
ERASES = _names("zero fill fill_diagonal uniform normal random exponential geometric cauchy log_normal")
# One number for many elements. It normalises what stands beside it, and is no term of its own.
STATISTICS = _names("mean sum std var norm vector_norm linalg_vector_norm amax amin max min median")
