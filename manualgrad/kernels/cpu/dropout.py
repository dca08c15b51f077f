"""Kernels of ``layers/dropout.py``: what is kept is one bit an element, and drawn faster than by torch.

torch draws the numbers one after the other from its generator, a Mersenne Twister: a batch of 624 words of 32
bits, each batch computed from the last. Two words make a number u in [0, 1), and kept is where u < q. Here it
is done with vector instructions, from the state that the generator has, and then the generator gets the state
after the last number: so the same elements are dropped, and whatever is drawn next is the same too. (Another
thread that draws from torch's generator meanwhile may get some of these numbers again.) On some processors
torch has another stream; there it draws, and the bits are taken from its mask.

Bits stand in the order of memory, in words of 32, the lowest first. Where whole channels are dropped, the
mask is the formula's, and a channel is scaled by one number in one pass.
"""

from __future__ import annotations

import functools
import math
import threading
from types import SimpleNamespace

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.dropout import SATURATION, AlphaDropoutFunction, DropoutFunction
from .. import Twin, plain
from ._jit import cached, compiled, like

__all__ = ["TWINS"]

BATCH, LAG = 624, 397
# In torch.get_rng_state(), as int64: how many words of the batch are left, which one is next, and the batch.
LEFT, NEXT, FIRST = 1, 2, 3
LOW_HALF = 0xFFFFFFFF
# Elements whose bits are put together at once.
CHUNK = 8192
# Multiplied by it, eight bytes that are 0 or 1 have their lowest bits side by side in the highest byte.
GATHER = np.uint64(0x0102040810204080)

_turn = threading.Lock()


@numba.njit(nogil=True, inline="always")
def twisted(word, following, far):
    mixed = (word & np.uint32(0x80000000)) | (following & np.uint32(0x7FFFFFFF))
    return np.uint32(far ^ (mixed >> np.uint32(1)) ^ ((following & np.uint32(1)) * np.uint32(0x9908B0DF)))


@numba.njit(nogil=True)
def next_batch(old, new):
    """One step of the Mersenne Twister"""
    for k in range(BATCH - LAG):
        new[k] = twisted(old[k], old[k + 1], old[k + LAG])
    for k in range(BATCH - LAG, BATCH - 1):
        new[k] = twisted(old[k], old[k + 1], new[k - (BATCH - LAG)])
    new[BATCH - 1] = twisted(old[BATCH - 1], new[0], new[LAG - 1])


@numba.njit(nogil=True)
def temper(batch, words):
    for k in range(batch.size):
        w = batch[k]
        w ^= w >> np.uint32(11)
        w ^= (w << np.uint32(7)) & np.uint32(0x9D2C5680)
        w ^= (w << np.uint32(15)) & np.uint32(0xEFC60000)
        words[k] = w ^ (w >> np.uint32(18))


@numba.njit(nogil=True)
def below(pairs, limit, kept):
    """Of each pair of words, whether the number of 53 bits that it makes is below ``limit``"""
    for k in range(pairs.size):
        pair = pairs[k]
        number = ((pair & np.uint64(0x1FFFFF)) << np.uint64(32)) | (pair >> np.uint64(32))
        kept[k] = np.int64(number) < limit


@cached
def draw_bits(state, bits, n, limit):
    old = np.empty(BATCH, np.uint32)
    new = np.empty(BATCH, np.uint32)
    for k in range(BATCH):
        new[k] = np.uint32(state[FIRST + k])
    start = BATCH if state[LEFT] & LOW_HALF == 1 else state[NEXT]
    words = np.empty(BATCH + 2, np.uint32)
    kept = np.zeros(CHUNK + BATCH, np.uint8)
    # ``over`` is 1 if the last word of a batch waits for the first one of the next.
    over = have = written = 0
    drawn = 0
    while drawn < n:
        if start == BATCH:
            old, new = new, old
            next_batch(old, new)
            start = 0
        temper(new[start:], words[over:])
        count = over + BATCH - start
        used = min(count // 2, n - drawn)
        below(words.view(np.uint64)[:used], limit, kept[have:])
        start += 2 * used - over
        over = 0
        drawn += used
        have += used
        if drawn < n and start < BATCH:
            words[0] = words[count - 1]
            over = 1
            start = BATCH
        if have >= CHUNK or drawn == n:
            eights = kept.view(np.uint64)
            whole = have // 8 if drawn < n else (have + 7) // 8
            kept[have : have + 8] = 0
            for k in range(whole):
                bits[written + k] = (eights[k] * GATHER) >> np.uint64(56)
            written += whole
            rest = have - 8 * whole
            for k in range(rest):
                kept[k] = kept[8 * whole + k]
            have = max(rest, 0)
    for k in range(written, bits.size):
        bits[k] = 0
    for k in range(BATCH):
        state[FIRST + k] = new[k]
    state[LEFT] = (state[LEFT] & ~LOW_HALF) | (BATCH + 1 - start)
    state[NEXT] = start


@compiled(x="n", bits="int32: (n + 31) // 32")
def pack(x, bits, n):
    for word in prange((n + 31) // 32):
        packed = np.uint32(0)
        for j in range(min(32, n - 32 * word)):
            packed |= np.uint32(x[32 * word + j] != 0) << np.uint32(j)
        bits[word] = packed


@compiled(x="n", bits="int32: (n + 31) // 32", y="n")
def scale_kept(x, bits, y, n, factor, shift_kept, shift_dropped):
    """y = factor x + shift_kept where kept, else 0 x + shift_dropped"""
    T = x.dtype.type
    for word in prange(n // 32):
        b = bits[word]
        for j in range(32):
            kept = (b >> np.int32(j)) & np.int32(1) != 0
            scaled = x[32 * word + j] * (T(factor) if kept else T(0))
            y[32 * word + j] = scaled + (T(shift_kept) if kept else T(shift_dropped))
    for i in range(n // 32 * 32, n):
        kept = (bits[n // 32] >> np.int32(i % 32)) & np.int32(1) != 0
        y[i] = x[i] * (T(factor) if kept else T(0)) + (T(shift_kept) if kept else T(shift_dropped))


@compiled(x="channels, count", mask="uint8: channels", y="channels, count")
def scale_channels(x, mask, y, channels, count, factor, shift_kept, shift_dropped):
    """The same for whole channels"""
    T = x.dtype.type
    for channel in prange(channels):
        scale = T(factor) if mask[channel] else T(0)
        shift = T(shift_kept) if mask[channel] else T(shift_dropped)
        for i in range(count):
            y[channel, i] = x[channel, i] * scale + shift


def words_of(n: int) -> Tensor:
    return torch.empty((n + 31) // 32, dtype=torch.int32)


def drawn(generator: torch.Generator, n: int, q: float) -> Tensor:
    """Bits, each 1 with probability ``q``."""
    bits = words_of(n)
    with _turn:
        state = generator.get_state()
        draw_bits(state.numpy().view(np.int64), bits.numpy().view(np.uint8), n, math.ceil(q * 2**53))
        generator.set_state(state)
    return bits


def unpacked(bits: Tensor, n: int) -> Tensor:
    """Bits as booleans."""
    return ((bits[:, None] >> torch.arange(32, dtype=torch.int32)) & 1).flatten()[:n].bool()


@functools.cache
def same_stream() -> bool:
    """Whether torch draws as it is done here; it does not on all processors."""
    ours, torchs = (torch.Generator().manual_seed(7) for _ in range(2))
    n = 1000
    expected = torch.empty(n).bernoulli_(0.7, generator=torchs).bool()
    got = unpacked(drawn(ours, n, 0.7), n)
    return got.equal(expected) and ours.get_state().equal(torchs.get_state())


class Bits:
    """What both Functions have in common here: how the mask is drawn and remembered."""

    @staticmethod
    def draw(x: Tensor, q: float) -> Tensor:
        n = x.numel()
        if same_stream():
            return drawn(torch.default_generator, n, q)
        bits = words_of(n)
        pack(torch.empty_like(x).bernoulli_(q), bits, n)
        return bits

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, mask, ctx.option, _ = inputs
        ctx.stride = output.stride()
        ctx.save_for_backward(mask)

    @staticmethod
    def scaled(x: Tensor, mask: Tensor, stride: tuple[int, ...], factor: float, shifts=(0.0, 0.0)) -> Tensor:
        y = x.new_empty_strided(x.shape, stride)
        if mask.dtype is torch.bool:
            channels = mask.numel()
            count = x.numel() // channels
            scale_channels(like(x, y), mask.view(torch.uint8), y, channels, count, factor, *shifts)
        else:
            scale_kept(like(x, y), mask, y, x.numel(), factor, *shifts)
        return y

    @staticmethod
    def mask(mask: Tensor, x: Tensor, stride: tuple[int, ...]) -> Tensor:
        """m, as the formula has it"""
        if mask.dtype is torch.bool:
            return mask
        return unpacked(mask, x.numel()).as_strided(x.shape, stride)


class DropoutCPU(Bits, DropoutFunction):
    @staticmethod
    def forward(x: Tensor, mask: Tensor, scale: float, inplace: bool):
        return Bits.scaled(x, mask, torch.empty_like(x).stride(), float(scale))

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (mask,) = ctx.saved_tensors
        if not plain(grad_y):
            mask = Bits.mask(mask, grad_y, ctx.stride)
            formula = SimpleNamespace(saved_tensors=(mask,), scale=ctx.option)
            return DropoutFunction.backward(formula, grad_y)
        return Bits.scaled(grad_y, mask, ctx.stride, float(ctx.option)), None, None, None


class AlphaDropoutCPU(Bits, AlphaDropoutFunction):
    @staticmethod
    def forward(x: Tensor, mask: Tensor, p: float, inplace: bool):
        a = AlphaDropoutFunction.factor(p)
        shifts = a * SATURATION * p, -a * SATURATION * (1 - p)
        return Bits.scaled(x, mask, torch.empty_like(x).stride(), a, shifts)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (mask,) = ctx.saved_tensors
        if not plain(grad_y):
            mask = Bits.mask(mask, grad_y, ctx.stride)
            formula = SimpleNamespace(saved_tensors=(mask,), p=ctx.option)
            return AlphaDropoutFunction.backward(formula, grad_y)
        factor = AlphaDropoutFunction.factor(ctx.option)
        return Bits.scaled(grad_y, mask, ctx.stride, factor), None, None, None


def takes(x: Tensor, mask: Tensor | None, option: float, inplace: bool) -> bool:
    if inplace:
        return False
    if mask is None or mask.dtype is torch.int32:
        return True
    whole_channels = x.dim() > 2 and mask.shape == x.shape[:2] + (1,) * (x.dim() - 2)
    return whole_channels and x.is_contiguous() and mask.is_contiguous()


ASKS = "not in place; to drop whole channels, a contiguous input"
TWINS = {
    DropoutFunction: Twin(DropoutCPU, takes=takes, asks=ASKS),
    AlphaDropoutFunction: Twin(AlphaDropoutCPU, takes=takes, asks=ASKS),
}
