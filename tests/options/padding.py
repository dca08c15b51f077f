"""Tables for ``layers/padding.py``."""

import torch

X = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
ROWS = X[0, 0, :3, :4]

SAME = {
    "pad constant": lambda F, x: F.pad(x, (1, 2, 0, 1), value=3.0),
    "pad crop": lambda F, x: F.pad(x, (-1, 2, 1, -2)),
    "pad reflect": lambda F, x: F.pad(x, (3, 2), mode="reflect"),
    "pad replicate": lambda F, x: F.pad(x, (7, 1), mode="replicate"),
    "pad circular": lambda F, x: F.pad(x, (4, 3), mode="circular"),
    "pad circular crop": lambda F, x: F.pad(x, (-1, 2), mode="circular"),
    "pad reflect crop": lambda F, x: F.pad(x, (2, -1), mode="reflect"),
    "pad replicate crop": lambda F, x: F.pad(x, (-2, 1), mode="replicate"),
    "pad circular of integers": lambda F, x: F.pad(X[0].long(), (1, 2), mode="circular") * x.sum(),
    "pad reflect of no samples": lambda F, x: F.pad(x[None, :0].reshape(0, 3, 4), (1, 1), mode="reflect"),
    "pad circular, all cropped": lambda F, x: F.pad(x, (-2, -2), mode="circular"),
    "pad constant of no axes": lambda F, x: F.pad(x, ()),
    "pad value of 0": lambda F, x: F.pad(x, (1, 1), mode="replicate", value=0),
}

AUTOCAST = {
    **SAME,
    "pad volume": lambda F, x: F.pad(x.reshape(1, 3, 2, 2), (1, 0, 0, 1, 1, 1), mode="reflect"),
}

ERRORS = {
    f"pad {mode}: {name}": (lambda F, mode=mode, call=call: call(F, mode), message)
    for mode in ("reflect", "replicate")
    for name, call, message in (
        ("all cropped", lambda F, m: F.pad(X[0], (-3, -3), mode=m), r"pad=\[-3, -3\] crops.*6 elements"),
        ("more cropped", lambda F, m: F.pad(X[0], (-4, -3), mode=m), r"pad=\[-4, -3\] crops"),
        (
            "no channels",
            lambda F, m: F.pad(X[:, :0], (1,) * 4, mode=m),
            r"batch may be empty.*\[2, 0, 5, 6\]",
        ),
        ("no columns", lambda F, m: F.pad(X[..., :0], (0, 0, 1, 1), mode=m), "batch may be empty"),
        ("bool", lambda F, m: F.pad(X > 0, (1, 1, 1, 1), mode=m), "not implemented for torch.bool"),
    )
}
ERRORS |= {
    f"pad {mode}: fractions": (lambda F, mode=mode: F.pad(X, (1.0, 1, 1, 1), mode=mode), None)
    for mode in ("constant", "reflect", "replicate", "circular")
}
ERRORS |= {
    "pad: mode": (lambda F: F.pad(ROWS, (1, 1), mode="mirror"), "mirror"),
    "pad: too far": (lambda F: F.pad(ROWS, (4, 0), mode="reflect"), None),
    "pad: value": (lambda F: F.pad(ROWS, (1, 0), mode="reflect", value=2.0), "value"),
    "pad: odd": (lambda F: F.pad(ROWS, (1,)), None),
    "pad circular: twice around": (lambda F: F.pad(X[0], (7, 0), mode="circular"), "at most 6.*\\[7, 0\\]"),
    "pad circular: more cropped": (lambda F: F.pad(X[0], (-7, 3), mode="circular"), "crops more of axis -1"),
    "pad constant: more cropped": (lambda F: F.pad(X, (-4, -3)), None),
    "pad constant: too many axes": (lambda F: F.pad(X[0, 0], (1,) * 6), "at most as many axes"),
    "pad reflect: axes": (lambda F: F.pad(X[0, 0], (1,) * 4, mode="reflect"), r"shape \[5, 6\]"),
}
