"""Tables for the shuffles."""

import torch

X = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "pixel_shuffle of integers": lambda F, x: F.pixel_shuffle(X.long(), 2).double() + 0 * x.sum(),
    "pixel_unshuffle of integers": lambda F, x: F.pixel_unshuffle(X.long(), 2).double() + 0 * x.sum(),
    "channel_shuffle of a slice": lambda F, x: F.channel_shuffle(x[None, :2, ::2].transpose(1, 2), 2),
}

AUTOCAST = {
    "pixel_shuffle": lambda F, x: F.pixel_shuffle(x.reshape(12, 1, 1)[:4], 2),
    "pixel_unshuffle": lambda F, x: F.pixel_unshuffle(x[None, :2], 2),
    "channel_shuffle": lambda F, x: F.channel_shuffle(x[None, :2], 2),
}

ERRORS = {
    "pixel_shuffle: axes": (lambda F: F.pixel_shuffle(X[0, 0], 2), "pixel_shuffle.*3 dimensions.*2"),
    "pixel_shuffle: channels": (lambda F: F.pixel_shuffle(X, 3), "pixel_shuffle.*upscale_factor.*4.*9"),
    "pixel_shuffle: factor": (lambda F: F.pixel_shuffle(X, 0), "positive upscale_factor.*0"),
    "pixel_shuffle: fraction": (lambda F: F.pixel_shuffle(X, 2.0), "upscale_factor"),
    "pixel_shuffle: no tensor": (lambda F: F.pixel_shuffle([1.0], 2), None),
    "pixel_unshuffle: axes": (lambda F: F.pixel_unshuffle(X[0, 0], 2), "pixel_unshuffle.*3 dimensions.*2"),
    "pixel_unshuffle: height": (lambda F: F.pixel_unshuffle(X, 3), "height.*downscale_factor.*4.*3"),
    "pixel_unshuffle: width": (lambda F: F.pixel_unshuffle(X, 4), "width.*downscale_factor.*6.*4"),
    "pixel_unshuffle: factor": (lambda F: F.pixel_unshuffle(X, -1), "positive downscale_factor.*-1"),
    "pixel_unshuffle: fraction": (lambda F: F.pixel_unshuffle(X, 2.0), "downscale_factor"),
    "channel_shuffle: axes": (lambda F: F.channel_shuffle(X[0, 0], 2), "channel_shuffle.*> 2 dims"),
    "channel_shuffle: divisor": (lambda F: F.channel_shuffle(X, 3), "channel_shuffle: groups=3.*is 4"),
    "channel_shuffle: none": (lambda F: F.channel_shuffle(X, 0), "channel_shuffle: groups=0"),
    "channel_shuffle: negative": (lambda F: F.channel_shuffle(X, -2), "channel_shuffle: groups=-2"),
    "channel_shuffle: fraction": (lambda F: F.channel_shuffle(X, 2.0), "groups"),
    "native_channel_shuffle: divisor": (lambda F: F.native_channel_shuffle(X, 3), "groups=3.*is 4"),
}
