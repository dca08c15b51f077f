"""What the kernels of pooling share: windows over three axes, the missing ones of length 1."""

from __future__ import annotations

from ._jit import forceinline

__all__ = ["inside", "side_by_side", "three", "windows"]


@forceinline
def inside(windows, length, kernel, stride, padding, dilation):
    """The first window that is wholly inside, and the first behind them that is not, or no more."""
    low = min(windows, -(-padding // stride))
    room = length + padding - dilation * (kernel - 1) - 1
    return low, max(low, min(windows, room // stride + 1)) if room >= 0 else low


def three(values, missing: int) -> tuple[int, int, int]:
    """A number for each of three axes; ``missing`` for those in front that are not there."""
    return (*(missing,) * (3 - len(values)), *values)  # pyright: ignore


def windows(plane, kernel, stride, padding, dilation, ceil_mode: bool) -> tuple[int, ...]:
    """How many there are along each axis, or () where the formula may raise."""
    size = []
    for length, k, s, p, d in zip(plane, kernel, stride, padding, dilation):
        reach = d * (k - 1) + 1
        if not (k > 0 and s > 0 and d > 0 and 0 <= 2 * p <= reach):
            return ()
        rest = length + 2 * p - reach
        if rest < 0:
            return ()
        count = (rest + s - 1 if ceil_mode else rest) // s + 1
        if ceil_mode and (count - 1) * s >= length + p:
            count -= 1
        size.append(count)
    return tuple(size)


def side_by_side(plane, size, kernel, stride, padding) -> bool:
    """Whether no element is in two windows, and none reaches over a border."""
    return not any(padding) and all(
        (o == 1 or s == k) and o * k <= length for length, o, k, s in zip(plane, size, kernel, stride)
    )
