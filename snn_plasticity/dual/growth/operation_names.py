"""Operations by what they do to the axes of tensors: their names in torch's dispatcher."""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MOVES = _names(
    "view _unsafe_view reshape _reshape_alias t transpose permute expand squeeze unsqueeze slice select split "
    "unsafe_split split_with_sizes unsafe_split_with_sizes chunk unsafe_chunk unbind detach alias index index_select "
    "gather roll flip repeat unfold pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle narrow "
    "diagonal repeat_interleave movedim swapaxes lift_fresh lift_fresh_copy contiguous take_along_dim"
)
SCANS = _names(
    "_softmax _log_softmax _safe_softmax softmax log_softmax cumsum cumprod logcumsumexp cummax cummin "
    "sort argsort topk"
)
OVER_AXES = _names(
    "sum mean nansum amax amin max min var std var_mean std_mean prod argmax argmin logsumexp any all median mode norm "
    "linalg_vector_norm count_nonzero kthvalue"
)
SPATIAL = {  # how many of the last axes are places
    "max_pool2d_with_indices": 2, "max_pool3d_with_indices": 3, "avg_pool1d": 1, "avg_pool2d": 2, "avg_pool3d": 3,
    "_adaptive_avg_pool2d": 2, "_adaptive_avg_pool3d": 3, "adaptive_max_pool2d": 2, "adaptive_max_pool3d": 3,
    "upsample_nearest1d": 1, "upsample_nearest2d": 2, "upsample_nearest3d": 3, "upsample_linear1d": 1,
    "upsample_bilinear2d": 2, "upsample_bicubic2d": 2, "upsample_trilinear3d": 3, "_upsample_nearest_exact1d": 1,
    "_upsample_nearest_exact2d": 2, "_upsample_bilinear2d_aa": 2, "reflection_pad1d": 1, "reflection_pad2d": 2,
    "reflection_pad3d": 3, "replication_pad1d": 1, "replication_pad2d": 2, "replication_pad3d": 3,
    "grid_sampler_2d": 2, "fractional_max_pool2d": 2, "max_pool2d": 2, "adaptive_avg_pool1d": 1,
}  # fmt: skip
PRODUCTS = {  # axes of the operands in a common frame, of which the last is summed over
    "mm": ("a.c", ".bc"), "bmm": ("xa.c", "x.bc"), "mv": ("ac", ".c"), "dot": ("c", "c"), "vdot": ("c", "c"),
}  # fmt: skip
WITH_BIAS = {"addmm": ("mm", "mat1", "mat2"), "baddbmm": ("bmm", "batch1", "batch2"), "addmv": ("mv", "mat", "vec")}
ALSO_POINTWISE = _names("native_dropout where lerp _to_copy bernoulli copy prelu _prelu_kernel")
FACTORIES = (
    "zeros",
    "ones",
    "empty",
    "full",
    "rand",
    "randn",
    "new_",
    "normal",
    "uniform",
    "arange",
    "linspace",
    "eye",
)
NO_TENSORS = _names("_local_scalar_dense item equal is_nonzero")
