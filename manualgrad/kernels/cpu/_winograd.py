"""The gradient of the weight of a 3x3 convolution, by Winograd's algorithm.

Of one row, y_o = Σ_k w_k x_(o+k), two outputs o = 0, 1 take 3 x 2 products. Winograd's algorithm takes four,
of sums of elements of x with sums of elements of w:

    y = Aᵀ[(G w) ⊙ (B x)],     A = 1  0     B = 1  0 -1  0     G = 1    0   0
                                   1  1         0  1  1  0         1/2  1/2 1/2
                                   1 -1         0 -1  1  0         1/2 -1/2 1/2
                                   0 -1         0  1  0 -1         0    0   1

It is linear in w, so that the derivative by w has the same factors, with g = ∂L/∂y in the place of y:

    ∂L/∂w = Gᵀ[(A g) ⊙ (B x)],          and of an image, along both axes,      Gᵀ[(A g Aᵀ) ⊙ (B x Bᵀ)] G

Here g comes in tiles of 2x2 and x in tiles of 4x4, which overlap by two, and what is in brackets is summed
over all tiles of all samples before Gᵀ and G are applied. For a pair of channels these are 16 inner products,
for all pairs 16 products of matrices: a tile takes 16 multiplications, where the convolution has 36.

Rounding is that of any other order of summation, but two infinities in a tile make NaN.

(The forward and the gradient of the input can be computed so too, and were; the library, which does these
faster than the gradient of the weight, took as long.)

Source: Winograd 1980, doi:10.1137/1.9781611970364; Lavin, Gray 2015, arXiv:1509.09308
"""

from __future__ import annotations

import numpy as np
from numba import prange
from torch import Tensor

from ...layers._spatial import Ints
from ._jit import compiled, inlined

__all__ = ["pays", "weight_gradient"]

# Bytes of tiles that are written out at a time, which should stay in the cache.
CACHE = 2**23
# How many products each sum must go into, for the sums to be paid for: see pays().
PRODUCTS = 28
# Tiles in all, as many as pay for the transform at the end; and in a plane, to make vectors long.
LEAST = 64


@inlined
def part_by_parity(x, parts, pitch, top, left):
    """parts[2 r + q, i pitch + j] = x[2 i + r - top, 2 j + q - left] where x has that; the rest stays."""
    for i in range(len(x)):
        row, half = x[i], (i + top) // 2 * pitch
        for q in range(2):
            first = (left - q + 1) // 2
            source = row[2 * first + q - left :]
            to = parts[(i + top) % 2 * 2 + q, half + first :]
            for j in range((source.size + 1) // 2):
                to[j] = source[2 * j]


@inlined
def times_b(even, odd, k, ahead, to):
    """Row k of B x, of elements of which the even and the odd ones are apart, each ``ahead`` of the next."""
    next_even, next_odd = even[ahead:], odd[ahead:]
    if k == 0:
        for i in range(to.size):
            to[i] = even[i] - next_even[i]
    elif k == 1:
        for i in range(to.size):
            to[i] = odd[i] + next_even[i]
    elif k == 2:
        for i in range(to.size):
            to[i] = next_even[i] - odd[i]
    else:
        for i in range(to.size):
            to[i] = odd[i] - next_odd[i]


@inlined
def times_a(even, odd, k, to):
    """Row k of A g, likewise."""
    if k == 0:
        for i in range(to.size):
            to[i] = even[i]
    elif k == 1:
        for i in range(to.size):
            to[i] = even[i] + odd[i]
    elif k == 2:
        for i in range(to.size):
            to[i] = even[i] - odd[i]
    else:
        for i in range(to.size):
            to[i] = -odd[i]


@inlined
def times_g_transposed(m0, m1, m2, m3, k, to):
    half = m0.dtype.type(0.5)
    if k == 0:
        for i in range(to.size):
            to[i] = m0[i] + half * (m1[i] + m2[i])
    elif k == 1:
        for i in range(to.size):
            to[i] = half * (m1[i] - m2[i])
    else:
        for i in range(to.size):
            to[i] = half * (m1[i] + m2[i]) + m3[i]


@inlined
def not_finite(x):
    count = np.int32(0)
    for i in range(x.size):
        count += np.int32(x[i] - x[i] != 0)
    return count


@compiled(x="n, b, h, w", tiles="16, b, n, rows * pitch")
def tiles_of_image(x, tiles, n, b, h, w, start, rows, pitch, top, left):
    """B x Bᵀ, from row ``start`` of the tiles on."""
    size = rows * pitch
    first = max(0, 2 * start - top)
    last = max(first, min(h, 2 * (start + rows + 1) - top))  # all may be padding
    for c in prange(b):
        parts = np.zeros((4, size + pitch + 1), x.dtype)
        even, odd = np.empty(size + 1, x.dtype), np.empty(size + 1, x.dtype)
        for s in range(n):
            part_by_parity(x[s, c, first:last], parts, pitch, first + top - 2 * start, left)
            for u in range(4):
                times_b(parts[0], parts[2], u, pitch, even)
                times_b(parts[1], parts[3], u, pitch, odd)
                for v in range(4):
                    times_b(even, odd, v, 1, tiles[4 * u + v, c, s])


@compiled(g="n, a, h, w", tiles="16, a, n, rows * pitch")
def tiles_of_gradient(g, tiles, n, a, h, w, start, rows, pitch):
    """A g Aᵀ, likewise."""
    size, first, last = rows * pitch, 2 * start, min(h, 2 * (start + rows))
    for c in prange(a):
        parts = np.zeros((4, size), g.dtype)
        even, odd = np.empty(size, g.dtype), np.empty(size, g.dtype)
        for s in range(n):
            part_by_parity(g[s, c, first:last], parts, pitch, 0, 0)
            for u in range(4):
                times_a(parts[0], parts[2], u, even)
                times_a(parts[1], parts[3], u, odd)
                for v in range(4):
                    times_a(even, odd, v, tiles[4 * u + v, c, s])


@compiled(m="16, a, b", grad_weight="a, b, 9")
def weight_of_tiles(m, grad_weight, a, b):
    """Gᵀ m G, and how many of its elements are not finite."""
    lost = 0
    for c in prange(a):
        half, taps = np.empty((4, b), m.dtype), np.empty(b, m.dtype)
        for u in range(3):
            for v in range(4):
                times_g_transposed(m[v, c], m[4 + v, c], m[8 + v, c], m[12 + v, c], u, half[v])
            for v in range(3):
                times_g_transposed(half[0], half[1], half[2], half[3], v, taps)
                for e in range(b):
                    grad_weight[c, e, 3 * u + v] = taps[e]
                lost += not_finite(taps)
    return lost


def pays(samples: int, a: int, b: int, places: Ints) -> bool:
    """Whether the gradient for an image of ``places``, between ``a`` and ``b`` channels, is faster here.

    A tile takes a b products and a + b sums, and the sums of small planes are short vectors.
    """
    tiles = -(-places[0] // 2) * -(-places[1] // 2)
    return a * b * tiles >= PRODUCTS * (a + b) * (tiles + LEAST) and samples * tiles >= LEAST


def weight_gradient(g: Tensor, x: Tensor, padding: Ints) -> Tensor | None:
    """Of a convolution of x the gradient of its weight; None if an element of it is not finite.

    Shapes: g (N, A, *O), x (N, B, *I) -> (A, B, 3, 3)
    """
    g, x = g.contiguous(), x.contiguous()
    n, a, *places = g.shape
    b, *plane = x.shape[1:]
    # A row of tiles has one more at its end, for which g is 0, so that all rows together are one vector.
    rows, pitch = (places[0] + 1) // 2, (places[1] + 1) // 2 + 1
    row = 16 * pitch * (a + b)
    fit = CACHE // (row * x.element_size())
    rows_at_a_time = max(1, min(rows, fit))
    at_a_time = max(1, min(n, fit // rows))
    memory = x.new_empty(at_a_time * rows_at_a_time * row)
    sums = x.new_zeros(16, a, b)
    for x_part, g_part in zip(x.split(at_a_time), g.split(at_a_time)):
        for start in range(0, rows, rows_at_a_time):
            samples, some = len(x_part), min(rows_at_a_time, rows - start)
            of_both = memory[: samples * some * row].view(16 * (a + b), -1)
            of_x, of_g = of_both[: 16 * b].view(16, b, -1), of_both[16 * b :].view(16, a, -1)
            tiles_of_image(x_part, of_x, samples, b, *plane, start, some, pitch, *padding)
            tiles_of_gradient(g_part, of_g, samples, a, *places, start, some, pitch)
            sums.baddbmm_(of_g, of_x.transpose(1, 2))
    grad_weight = x.new_empty(a, b, 3, 3)
    return None if weight_of_tiles(sums, grad_weight, a, b) else grad_weight
