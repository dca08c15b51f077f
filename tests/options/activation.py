"""Tables for ``activation.py``, ``piecewise.py``, ``leaky.py``, ``exponential.py``, ``gating.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WHOLE = torch.tensor([-3, -1, 0, 1, 3, 9])
INF, NAN = float("inf"), float("nan")

# a functional, and the options with which it is tried
IN_PLACE = {
    "relu": {},
    "relu6": {},
    "hardtanh": {"min_val": -0.3, "max_val": 0.4},
    "hardsigmoid": {},
    "hardswish": {},
    "threshold": {"threshold": 0.1, "value": -2.0},
    "leaky_relu": {"negative_slope": 0.2},
    "rrelu": {"lower": 0.2, "upper": 0.7, "training": True},
    "elu": {"alpha": 0.7},
    "celu": {"alpha": 0.5},
    "selu": {},
    "silu": {},
    "mish": {},
}
UNDERSCORED = ("relu", "hardtanh", "threshold", "leaky_relu", "rrelu", "elu", "celu", "selu")
FLOATING = (
    *("hardsigmoid", "hardswish", "hardshrink", "softshrink", "rrelu", "celu", "selu", "mish", "logsigmoid"),
    *("glu", "gelu", "silu", "elu", "softplus", "leaky_relu"),
)


def in_place(name, options):
    return lambda F, x: getattr(F, name)(x.clone(), **options, inplace=True)


def underscored(name, options):
    return lambda F, x: getattr(F, f"{name}_")(x.clone(), *options.values())


def whole(name, *options):
    """Of integers, and of x so that there is a gradient."""
    return lambda F, x: getattr(F, name)(WHOLE, *options) + 0 * x.sum()


def integers(name):
    return lambda F: getattr(F, name)(X.long())


def truths(name, *options):
    return lambda F: getattr(F, name)(X > 0, *options)


SAME = {
    **{f"{name} overwrites": in_place(name, options) for name, options in IN_PLACE.items()},
    **{f"{name}_": underscored(name, IN_PLACE[name]) for name in UNDERSCORED},
    **{f"{name}_ by default": underscored(name, {}) for name in UNDERSCORED if name != "threshold"},
    "rrelu overwrites in eval": in_place("rrelu", {"lower": 0.2, "upper": 0.7}),
    "rrelu of a transposed input": lambda F, x: F.rrelu(x.T, training=True),
    "rrelu positional": lambda F, x: F.rrelu(x, 0.1, 0.9, True),
    "hardtanh positional": lambda F, x: F.hardtanh(x, -0.2, 0.9),
    "hardtanh_ of crossed bounds": lambda F, x: F.hardtanh_(x.clone(), 0.5, -0.5),
    "threshold of NaN": lambda F, x: F.threshold(x, 0.1, NAN).nan_to_num(7.0),
    "prelu scalar weight": lambda F, x: F.prelu(x, torch.tensor(0.3, dtype=torch.float64)),
    "prelu weights that are the input": lambda F, x: F.prelu(x, x[0]),
    "prelu of a vector": lambda F, x: F.prelu(x[0], x[1, :1]),
    "glu of a transposed input": lambda F, x: F.glu(x.T, 0),
    "relu of integers": whole("relu"),
    "relu6 of integers": whole("relu6"),
    "hardtanh of integers": whole("hardtanh", -1.5, 2.5),
    "threshold of integers": whole("threshold", 1.5, 2.5),
    "softsign of integers": whole("softsign"),
    "tanhshrink of integers": whole("tanhshrink"),
}

AUTOCAST = {
    **{f"{name} of this dtype": (lambda F, x, name=name: getattr(F, name)(x)) for name in FLOATING},
    "relu6 of this dtype": lambda F, x: F.relu6(x),
    "hardtanh of this dtype": lambda F, x: F.hardtanh(x),
    "threshold of this dtype": lambda F, x: F.threshold(x, 0.1, 3.0),
    "softsign of this dtype": lambda F, x: F.softsign(x),
    "tanhshrink of this dtype": lambda F, x: F.tanhshrink(x),
    "prelu of this dtype": lambda F, x: F.prelu(x, x[0]),
    "prelu of float32": lambda F, x: F.prelu(x, x[0].float()),
}

ERRORS = {
    "gelu: form": (lambda F: F.gelu(X, approximate="sigmoid"), "'sigmoid'"),
    **{f"{name}: of integers": (integers(name), f"{name}: .*int64") for name in FLOATING},
    "prelu: of integers": (lambda F: F.prelu(X.long(), X[0].long()), "prelu: .*int64"),
    "rrelu: of integers in training": (lambda F: F.rrelu(X.long(), training=True), "rrelu: .*int64"),
    "celu overwrites: of integers": (lambda F: F.celu(X.long(), inplace=True), "celu: .*int64"),
    "relu: of truths": (truths("relu"), "relu: .*bool"),
    "relu6: of truths": (truths("relu6"), "relu6: .*bool"),
    "hardtanh: of truths": (truths("hardtanh"), "hardtanh: .*bool"),
    "hardtanh_: of truths": (truths("hardtanh_"), "hardtanh_: .*bool"),
    "threshold: of truths": (truths("threshold", 1, 0), "threshold: .*bool"),
    "softsign: of truths": (truths("softsign"), None),
    "hardtanh: bounds": (lambda F: F.hardtanh(X, 2.0, 1.0), r"hardtanh: min_val=2.0 .*max_val=1.0"),
    "hardtanh: unsigned": (lambda F: F.hardtanh(X.to(torch.uint8)), r"hardtanh: .*uint8.*min_val=-1"),
    "softshrink: negative": (lambda F: F.softshrink(X, -1.0), r"softshrink: lambd .*-1.0"),
    "softshrink: infinite": (lambda F: F.softshrink(X, INF), r"softshrink: lambd .*inf"),
    "softshrink: NaN": (lambda F: F.softshrink(X, NAN), r"softshrink: lambd .*nan"),
    "celu: alpha": (lambda F: F.celu(X, 0.0), "celu: alpha must not be 0"),
    "celu_: alpha": (lambda F: F.celu_(X.clone(), 0.0), "celu: alpha must not be 0"),
    "rrelu: bounds": (lambda F: F.rrelu(X, 0.5, 0.2), r"rrelu: lower=0.5 .*upper=0.2"),
    "rrelu: infinite": (lambda F: F.rrelu(X, -INF, 0.2, True), r"rrelu: lower .*-inf"),
    "rrelu: NaN": (lambda F: F.rrelu(X, 0.1, NAN), r"rrelu: upper .*nan"),
    "prelu: channels": (lambda F: F.prelu(X, X[0, :3]), r"prelu: weight has 3 elements.*\[3, 4\].*4 chan"),
    "prelu: channels of a vector": (lambda F: F.prelu(X[0], X[0]), r"prelu: weight has 4.*\[4\].*1 chan"),
    "prelu: of a scalar": (lambda F: F.prelu(X[0, 0], X[0]), r"prelu: weight has 4"),
    "prelu: axes of weight": (lambda F: F.prelu(X, X[:1, :1]), r"prelu: weight .*\[1, 1\]"),
    "prelu: dtype": (lambda F: F.prelu(X, X[0].float()), "prelu: mixed dtype"),
    "glu: of a scalar": (lambda F: F.glu(X[0, 0]), "glu: a scalar"),
    "glu: odd": (lambda F: F.glu(X, 0), r"glu: .*dim=0 .*\[3, 4\]"),
    "glu: axis": (lambda F: F.glu(X, 2), r"glu: Dimension out of range: got dim=2"),
}  # fmt: skip
