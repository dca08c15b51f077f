"""Tables for interpolation, grids, conv_tbc and grouped_mm."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LINE, PICTURE, VOLUME = X[None], X[None, None], X.reshape(1, 1, 3, 2, 2)
PLACES = X[:2].tanh().reshape(1, 2, 2, 2)
OFFSETS = torch.tensor([2, 3], dtype=torch.int32)
STACK = torch.ones(2, 4, 4)


def smooth(x):
    """Places that depend on x, inside and outside."""
    return (1.7 * x).reshape(1, 2, 3, 2)


SAME = {
    "interpolate list": lambda F, x: F.interpolate(x[None, None], size=[5, 2], mode="bilinear"),
    "interpolate scales": lambda F, x: F.interpolate(x[None, None], scale_factor=[2, 0.5], mode="bicubic"),
    "interpolate doubled in two axes": lambda F, x: F.interpolate(x[None, None], scale_factor=(2.1, 1.2)),
    "interpolate area": lambda F, x: F.interpolate(x[None], scale_factor=0.6, mode="area"),
    "interpolate area volume": lambda F, x: F.interpolate(x.reshape(1, 1, 3, 2, 2), 2, mode="area"),
    "interpolate same linear": lambda F, x: F.interpolate(x[None], scale_factor=1.2, mode="linear"),
    "interpolate recomputed": lambda F, x: F.interpolate(
        x[None], scale_factor=1.9, mode="linear", recompute_scale_factor=True
    ),
    **{
        f"interpolate {mode} recomputed={again}": lambda F, x, mode=mode, again=again: F.interpolate(
            x[None, None], scale_factor=(2.4, 0.7), mode=mode, recompute_scale_factor=again
        )
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
        for again in (True, False)
    },
    "interpolate one element": lambda F, x: F.interpolate(x[None, None, :1, :1], (3, 2), mode="bicubic"),
    "interpolate to one element": lambda F, x: F.interpolate(
        x[None, None], (1, 1), mode="bilinear", align_corners=True
    ),
    "interpolate antialias bicubic aligned": lambda F, x: F.interpolate(
        x[None, None], (2, 3), mode="bicubic", align_corners=True, antialias=True
    ),
    "interpolate antialias larger": lambda F, x: F.interpolate(
        x[None, None], (7, 5), mode="lanczos", antialias=True
    ),
    "interpolate not contiguous": lambda F, x: F.interpolate(x.T[None, None], (2, 7), mode="nearest-exact"),
    "affine_grid of one element": lambda F, x: F.affine_grid(x.reshape(2, 2, 3), [2, 1, 1, 1], False),
    "grid_sample of places": lambda F, x: F.grid_sample(PICTURE, smooth(x), align_corners=False),
    "grid_sample of places, reflection": lambda F, x: F.grid_sample(
        PICTURE, smooth(x), "bilinear", "reflection", align_corners=True
    ),
    "grid_sample of places, bicubic": lambda F, x: F.grid_sample(
        PICTURE, smooth(x), "bicubic", "border", align_corners=False
    ),
    "grid_sample one element": lambda F, x: F.grid_sample(
        PICTURE[..., :1, :1], smooth(x), "bilinear", "reflection", align_corners=True
    ),
    "grid_sample shares": lambda F, x: F.grid_sample(x[None, None], smooth(x), align_corners=False),
    "conv_tbc": lambda F, x: F.conv_tbc(x[:, None], x[None].transpose(1, 2), x[:, 0], 1),
}  # fmt: skip

AUTOCAST = {
    **{f"interpolate {mode}": lambda F, x, mode=mode: F.interpolate(x[None, None], 2, mode=mode)
       for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")},
    "interpolate linear": lambda F, x: F.interpolate(x[None], 3, mode="linear"),
    "interpolate trilinear": lambda F, x: F.interpolate(x[None, None, None], 2, mode="trilinear"),
    "interpolate lanczos": lambda F, x: F.interpolate(
        x.float()[None, None], (2, 2), mode="lanczos", antialias=True
    ),
    "grid_sample": lambda F, x: F.grid_sample(
        x[None, None], x[None, :2].reshape(1, 2, 2, 2), align_corners=True
    ),
    "grid_sample dtypes": lambda F, x: F.grid_sample(x[None, None], PLACES.float(), align_corners=True),
    "affine_grid": lambda F, x: F.affine_grid(x[:2, :3][None], (1, 1, 2, 3), align_corners=False),
    "conv_tbc": lambda F, x: F.conv_tbc(x[:, None], x[None].transpose(1, 2), x[0, :3]),
    "grouped_mm": lambda F, x: F.grouped_mm(x[:, None, :].repeat(1, 8, 2), x[:, :1, None].repeat(1, 8, 8)),
}  # fmt: skip

ERRORS = {
    "interpolate: corners": (
        lambda F: F.interpolate(PICTURE, 2, align_corners=True),
        "mode='nearest' has no",
    ),
    "interpolate: corners of area": (lambda F: F.interpolate(PICTURE, 2, None, "area", False), "mode='area'"),
    "interpolate: both": (
        lambda F: F.interpolate(PICTURE, 2, 2.0),
        "exactly one of size=2 and scale_factor=2.0",
    ),
    "interpolate: neither": (lambda F: F.interpolate(PICTURE), "exactly one"),
    "interpolate: sizes": (lambda F: F.interpolate(PICTURE, (2, 2, 2)), r"size=\(2, 2, 2\).*\[1, 1, 3, 4\]"),
    "interpolate: scales": (lambda F: F.interpolate(PICTURE, None, (2.0,)), r"scale_factor=\(2.0,\)"),
    "interpolate: fractional size": (lambda F: F.interpolate(PICTURE, (2.5, 2)), r"integers.*\(2.5, 2\)"),
    "interpolate: recompute": (
        lambda F: F.interpolate(PICTURE, 2, recompute_scale_factor=True),
        "recompute_scale_factor=True needs a scale_factor",
    ),
    "interpolate: antialias": (lambda F: F.interpolate(PICTURE, 2, antialias=True), "antialias=True is for"),
    "interpolate: antialias of a line": (
        lambda F: F.interpolate(LINE, 2, mode="linear", antialias=True),
        r"\[1, 3, 4\] and mode='linear'",
    ),
    "interpolate: mode": (lambda F: F.interpolate(PICTURE, 2, mode="quintic"), "mode='quintic'"),
    "interpolate: linear of a picture": (lambda F: F.interpolate(PICTURE, 2, mode="linear"), "'linear' for"),
    "interpolate: bicubic of a volume": (lambda F: F.interpolate(VOLUME, 2, mode="bicubic"), "'bicubic'"),
    "interpolate: trilinear of a line": (lambda F: F.interpolate(LINE, 2, mode="trilinear"), "'trilinear'"),
    "interpolate: a matrix": (lambda F: F.interpolate(X, scale_factor=2), None),
    "interpolate: lanczos": (lambda F: F.interpolate(PICTURE, 2, mode="lanczos"), "needs antialias=True"),
    "interpolate: lanczos corners": (
        lambda F: F.interpolate(PICTURE, 2, mode="lanczos", antialias=True, align_corners=True),
        "no align_corners=True",
    ),
    "interpolate: to nothing": (lambda F: F.interpolate(PICTURE, scale_factor=0.1), r"lengths \[0, 0\]"),
    "interpolate: of nothing": (
        lambda F: F.interpolate(PICTURE[..., :0], 2, mode="bilinear"),
        r"\[1, 1, 3, 0\]",
    ),
    "interpolate: no channels": (lambda F: F.interpolate(PICTURE[:, :0], 2), r"\[1, 0, 3, 4\]"),
    "interpolate: integers": (lambda F: F.interpolate(PICTURE.long(), 2), None),
    "interpolate: half antialias": (
        lambda F: F.interpolate(PICTURE.half(), 2, mode="bilinear", antialias=True),
        "torch.float16 on the CPU; cast",
    ),
    "affine_grid: integers": (
        lambda F: F.affine_grid(X[None, :2, :3].long(), (1, 1, 2, 2), False),
        "floating",
    ),
    "affine_grid: size": (lambda F: F.affine_grid(X[None, :2, :3], (1, 2, 2), False), r"\(1, 2, 2\)"),
    "affine_grid: matrix": (
        lambda F: F.affine_grid(X[None], (1, 1, 2, 2), False),
        r"\(N, 2, 3\).*\[1, 3, 4\]",
    ),
    "affine_grid: volume": (lambda F: F.affine_grid(X[None, :2], (1, 1, 2, 2, 2), False), r"\(N, 3, 4\)"),
    "affine_grid: empty": (lambda F: F.affine_grid(X[None, :2, :3], (1, 1, 0, 2), False), "positive"),
    "affine_grid: samples": (
        lambda F: F.affine_grid(X[None, :2, :3], (2, 1, 2, 2), False),
        "asks for 2 samples",
    ),
    "grid_sample: mode": (lambda F: F.grid_sample(PICTURE, PLACES, "cubic", align_corners=False), "'cubic'"),
    "grid_sample: padding": (lambda F: F.grid_sample(PICTURE, PLACES, "nearest", "wrap", False), "'wrap'"),
    "grid_sample: axes": (lambda F: F.grid_sample(LINE, PLACES, align_corners=False), r"\[1, 3, 4\]"),
    "grid_sample: grid": (
        lambda F: F.grid_sample(PICTURE, X[None, None, :, :3], align_corners=False),
        "grid",
    ),
    "grid_sample: grid axes": (
        lambda F: F.grid_sample(PICTURE, PLACES[0], align_corners=False),
        r"\[2, 2, 2\]",
    ),
    "grid_sample: samples": (
        lambda F: F.grid_sample(PICTURE, PLACES.repeat(2, 1, 1, 1), align_corners=False), "number of samples"
    ),
    "grid_sample: nothing": (lambda F: F.grid_sample(PICTURE[..., :0], PLACES, align_corners=False), "empty"),
    "grid_sample: bicubic volume": (
        lambda F: F.grid_sample(VOLUME, X.reshape(1, 1, 2, 2, 3), "bicubic", align_corners=False), "bicubic"
    ),
    "grid_sample: dtypes": (
        lambda F: F.grid_sample(PICTURE, PLACES.float(), align_corners=False),
        "same dtype",
    ),
    "grid_sample: integers": (
        lambda F: F.grid_sample(PICTURE.long(), PLACES.long(), align_corners=False), "not implemented for"
    ),
    "conv_tbc: axes": (lambda F: F.conv_tbc(X, X[None], X[0]), r"conv_tbc: expected.*\[3, 4\]"),
    "conv_tbc: channels": (lambda F: F.conv_tbc(X[:, None], X[None], X[0]), "takes 3 channels"),
    "conv_tbc: bias": (lambda F: F.conv_tbc(X[:, None], X[None].transpose(1, 2), X[0]), r"3 biases.*\[4\]"),
    "conv_tbc: bias axes": (lambda F: F.conv_tbc(X[:, None], X[None].transpose(1, 2), X), r"\[3, 4\]"),
    "conv_tbc: kernel": (lambda F: F.conv_tbc(X[:1, None], X[:, None].transpose(1, 2), X[0, :1]), None),
    "grouped_mm: axes": (lambda F: F.grouped_mm(STACK[0, 0], STACK, offs=OFFSETS), r"2 or 3 axes.*\[4\]"),
    "grouped_mm: sum": (lambda F: F.grouped_mm(STACK[0, :, :3], STACK, offs=OFFSETS), "must match"),
    "grouped_mm: no offs": (lambda F: F.grouped_mm(STACK[0], STACK), "offs"),
    "grouped_mm: useless offs": (lambda F: F.grouped_mm(STACK, STACK, offs=OFFSETS), "offs"),
    "grouped_mm: long offs": (lambda F: F.grouped_mm(STACK[0], STACK, offs=OFFSETS.long()), "int32"),
    "grouped_mm: offs axes": (lambda F: F.grouped_mm(STACK[0], STACK, offs=OFFSETS[None]), "one axis"),
    "grouped_mm: groups": (lambda F: F.grouped_mm(STACK[0], STACK, offs=OFFSETS[:1]), "number of groups"),
    "grouped_mm: stacks": (lambda F: F.grouped_mm(STACK, STACK[:1]), "number of groups"),
    "grouped_mm: dtypes": (
        lambda F: F.grouped_mm(STACK[0], STACK.half(), offs=OFFSETS),
        "same floating dtype",
    ),
    "grouped_mm: integers": (lambda F: F.grouped_mm(STACK[0].int(), STACK.int(), offs=OFFSETS), "floating"),
    "grouped_mm: bias": (lambda F: F.grouped_mm(STACK[0], STACK, offs=OFFSETS, bias=STACK[0]), "bias"),
    "grouped_mm: out_dtype": (
        lambda F: F.grouped_mm(STACK[0], STACK, offs=OFFSETS, out_dtype=torch.float16), "out_dtype"
    ),
}  # fmt: skip
