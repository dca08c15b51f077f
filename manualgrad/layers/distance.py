"""Distances: how far apart two vectors are, and how much of one points along the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..function import (
    FLOAT32_ON_ACCELERATOR,
    Autocast,
    Function,
    apply,
    check_number,
    check_tensors,
    transforming,
    wide,
)
from ._broadcast import broadcast, floating_dtype

__all__ = [
    "CosineSimilarity",
    "CosineSimilarityFunction",
    "PDistFunction",
    "PairwiseDistance",
    "PairwiseDistanceFunction",
    "cosine_similarity",
    "pairwise_distance",
    "pdist",
]


def norm_slope(
    delta: Tensor, norm: Tensor, p: float, axes: int | tuple[int, ...] = -1, share_ties: bool = True
) -> Tensor:
    """∂‖δ‖/∂δ of the p-norm over ``axes``, δ_i of which has the slope sign(δ_i) (|δ_i| / ‖δ‖)^(p − 1).

    From ‖δ‖^p = Σ |δ_i|^p:  p ‖δ‖^(p−1) ∂‖δ‖/∂δ_i = p |δ_i|^(p−1) sign δ_i.  For p = ∞ (−∞) that power is 1
    where |δ_i| is the largest (smallest), which ties may share, and 0 elsewhere. p = 0 counts what is not 0:
    slope 0. Where the norm is 0 there is no slope, and 0 is taken.
    """
    if p == 0:
        return torch.zeros_like(delta)
    if p == 1:
        return delta.sign()
    if math.isinf(p):
        reached = (delta.abs() == norm).to(delta.dtype)
        return delta.sign() * (reached / reached.sum(axes, keepdim=True) if share_ties else reached)
    inverse = torch.where(norm == 0, 0, 1 / torch.where(norm == 0, 1, norm))
    if p == 2:
        return delta * inverse
    # A power of 0 may be infinite, or have an infinite slope: it is kept out, not multiplied by 0.
    moved = (delta != 0) & (norm != 0)
    ratio = torch.where(moved, delta.abs() * inverse, 1)
    return torch.where(moved, delta.sign() * ratio.pow(p - 1), 0)


class PairwiseDistanceFunction(Function):
    """The p-norm of the difference of two vectors.

    Forward    δ = x₁ − x₂ + ε,   y = ‖δ‖ = (Σ |δ_i|^p)^(1/p)   (ε keeps equal vectors off the kink at 0)
    Backward   ∂L/∂x₁ = g ∂‖δ‖/∂δ,   ∂L/∂x₂ = −∂L/∂x₁
               ∂‖δ‖/∂δ_i = sign(δ_i) (|δ_i| / ‖δ‖)^(p−1):   for p = 2, δ / ‖δ‖, the direction of δ
    Shapes     x₁, x₂: (*, D);   y: (*), or (*, 1) if the axis is kept
    Saves      x₁, x₂
    Source     Minkowski 1896, "Geometrie der Zahlen"
    """

    @staticmethod
    def forward(x1: Tensor, x2: Tensor, p: float, eps: float, keepdim: bool):
        delta = wide(x1) - wide(x2) + eps
        return torch.linalg.vector_norm(delta, p, -1, keepdim).to(floating_dtype(x1, x2))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x1, x2, ctx.p, ctx.eps, _ = inputs
        ctx.save_for_backward(x1, x2)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x1, x2 = ctx.saved_tensors
        delta = wide(x1) - wide(x2) + ctx.eps
        norm = torch.linalg.vector_norm(delta, ctx.p, -1, True)
        grad_delta = wide(grad_y).reshape(norm.shape) * norm_slope(delta, norm, ctx.p)
        return grad_delta.to(x1.dtype), (-grad_delta).to(x2.dtype), None, None, None


def distance(
    name: str, x1: Tensor, x2: Tensor, p: float, eps: float, keepdim: bool, autocast: Autocast
) -> Tensor:
    """:func:`pairwise_distance` as a step of the layer ``name``, under that layer's policy for autocast."""
    check_number(name, p=p, eps=eps)
    u, v = broadcast(name, x1=x1, x2=x2)
    return apply(PairwiseDistanceFunction, u, v, float(p), float(eps), keepdim, autocast=autocast)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """Distance of vectors, as :func:`torch.nn.functional.pairwise_distance`.

    Args:
        x1, x2: shape (*, D), broadcast to each other.
        p: of the norm; 0, negative and infinite ones too.
        eps: added to each difference.
        keepdim: keep the last axis, with length 1.

    Returns:
        The distances, shape (*) or (*, 1).

    Raises:
        RuntimeError: if the shapes do not broadcast.
    """
    return distance("pairwise_distance", x1, x2, p, eps, keepdim, FLOAT32_ON_ACCELERATOR)


class PairwiseDistance(nn.PairwiseDistance):
    """:class:`torch.nn.PairwiseDistance` with a hand-written backward."""

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


def raised(x: Tensor, low: float) -> Tensor:
    """max(x, low), with slope 1 below ``low`` too: torch raises such values without telling autograd."""
    return torch.where(x < low, low + (x - x.detach()), x)


class CosineSimilarityFunction(Function):
    """The cosine of the angle between two vectors.

    Forward    n_k = max(‖x_k‖, ε),   u_k = x_k / n_k,   c = ⟨u₁, u₂⟩
    Backward   ∂n₁/∂x₁ = x₁ / ‖x₁‖ =: d₁  (0 at x₁ = 0; below ε too, as in torch), and u₁ = x₁ / n₁ gives
               ∂c/∂x₁ = u₂ / n₁ − (⟨x₁, u₂⟩ / n₁²) d₁ = (u₂ − c d₁) / n₁:
               of u₂ only what is perpendicular to x₁ turns it
               ∂L/∂x₁ = g (u₂ − c d₁) / n₁,   ∂L/∂x₂ = g (u₁ − c d₂) / n₂
    Shapes     x₁, x₂: (*, D, *), D along ``dim``;   c: (*, *)
    Saves      x₁, x₂
    Source     Salton, Wong, Yang 1975, doi:10.1145/361219.361220
    """

    @staticmethod
    def forward(x1: Tensor, x2: Tensor, dim: int, eps: float):
        n1, n2 = (torch.linalg.vector_norm(wide(x), 2, dim, True).clamp(min=eps) for x in (x1, x2))
        return ((x1 / n1) * (x2 / n2)).sum(dim).to(torch.promote_types(x1.dtype, x2.dtype))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x1, x2, ctx.dim, ctx.eps = inputs
        ctx.save_for_backward(x1, x2)

    @staticmethod
    def backward(ctx, grad_c: Tensor):
        x1, x2 = ctx.saved_tensors
        norm1, norm2 = (torch.linalg.vector_norm(wide(x), 2, ctx.dim, True) for x in (x1, x2))
        d1, d2 = norm_slope(wide(x1), norm1, 2), norm_slope(wide(x2), norm2, 2)
        n1, n2 = raised(norm1, ctx.eps), raised(norm2, ctx.eps)
        u1, u2 = x1 / n1, x2 / n2
        c = (u1 * u2).sum(ctx.dim, keepdim=True)
        g = wide(grad_c).reshape(c.shape)
        grad_x1 = grad_x2 = None
        if ctx.needs_input_grad[0]:
            grad_x1 = (g * (u2 - c * d1) / n1).to(x1.dtype)
        if ctx.needs_input_grad[1]:
            grad_x2 = (g * (u1 - c * d2) / n2).to(x2.dtype)
        return grad_x1, grad_x2, None, None


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of an angle, as :func:`torch.nn.functional.cosine_similarity`.

    Args:
        x1, x2: any shape, broadcast to each other.
        dim: the axis of the vectors, in the shape they are broadcast to.
        eps: the smallest norm that is divided by.

    Returns:
        The cosines, of that shape without ``dim``.

    Raises:
        RuntimeError: if the shapes do not broadcast, or neither tensor is floating point.
        IndexError: if there is no axis ``dim``.
    """
    check_tensors("cosine_similarity", x1=x1, x2=x2)
    dtype = torch.promote_types(x1.dtype, x2.dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError(
            f"cosine_similarity: expected a floating-point tensor, but x1 has {x1.dtype} and x2 {x2.dtype}; "
            "cast one of them"
        )
    check_number("cosine_similarity", eps=eps)
    if not eps >= 0:
        raise RuntimeError(f"cosine_similarity: eps must not be negative, but got {eps}")
    u, v = broadcast("cosine_similarity", x1=x1, x2=x2)
    axes = max(u.dim(), 1)
    if not -axes <= dim < axes:
        raise IndexError(
            f"cosine_similarity: Dimension out of range: dim must be from {-axes} to {axes - 1} for vectors "
            f"of shape {list(u.shape)}, but got {dim}"
        )
    u, v = (t if t.is_floating_point() or t.is_complex() else t.to(dtype) for t in (u, v))
    return apply(CosineSimilarityFunction, u, v, dim, eps, autocast=FLOAT32_ON_ACCELERATOR)


class CosineSimilarity(nn.CosineSimilarity):
    """:class:`torch.nn.CosineSimilarity` with a hand-written backward."""

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return cosine_similarity(x1, x2, self.dim, self.eps)


# How many numbers pdist's backward may hold at once.
AT_ONCE = 2**20


def square(pairs: Tensor, n: int) -> Tensor:
    """The symmetric matrix, 0 on the diagonal, of numbers for all pairs i < j in the order of pdist."""
    i, j = torch.triu_indices(n, n, 1, device=pairs.device)
    upper = pairs.new_zeros(n * n).index_add(0, i * n + j, pairs).reshape(n, n)
    return upper + upper.T


class PDistFunction(Function):
    """The distances of all pairs among N vectors.

    Forward    δ_ij = x_i − x_j,   y_ij = ‖δ_ij‖   for i < j: the upper triangle, row by row
    Backward   x_i is in all pairs (i, k) with a plus, and in all pairs (k, i) with a minus. With the pull
               h_ij = g_ij ∂‖δ_ij‖/∂δ_ij (derived in PairwiseDistanceFunction; 0 where x_i = x_j):
               ∂L/∂x_i = Σ_{k>i} h_ik − Σ_{k<i} h_ki = Σ_k h_ik,   as with g_ki = g_ik  h_ki = −h_ik
               Some rows i are done at a time: all δ_ij together would be N² D numbers
               For p = ∞ each of the largest |δ| has the slope 1 of a single one, as in torch
    Shapes     x: (N, D);   y: (N (N − 1) / 2)
    Saves      x, y
    Source     as PairwiseDistanceFunction
    """

    @staticmethod
    def forward(x: Tensor, p: float):
        if x.dtype in (torch.float16, torch.bfloat16):
            raise NotImplementedError(f"pdist: not implemented for {x.dtype}, as in torch; cast to float32")
        if not transforming() or x.shape[1] == 0:
            return nn.functional.pdist(x, p)
        # ATen's own has no rule for vmap.
        i, j = torch.triu_indices(x.shape[0], x.shape[0], 1, device=x.device)
        return torch.linalg.vector_norm(x.index_select(0, i) - x.index_select(0, j), p, 1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.p = inputs
        ctx.save_for_backward(x, output)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, y = ctx.saved_tensors
        n, features = x.shape
        if n < 2 or features == 0:
            return torch.zeros_like(x), None
        g, norms = square(grad_y, n), square(y, n)
        rows = max(AT_ONCE // (n * features), 1)
        found = []
        for start in range(0, n, rows):
            count = min(rows, n - start)
            delta = x.narrow(0, start, count).unsqueeze(1) - x
            norm = norms.narrow(0, start, count).unsqueeze(2)
            if torch.is_grad_enabled():
                norm = torch.linalg.vector_norm(delta, ctx.p, 2, True)
            slope = norm_slope(delta, norm, ctx.p, share_ties=False)
            found.append((g.narrow(0, start, count).unsqueeze(1) @ slope).squeeze(1))
        return torch.cat(found), None


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Distances of all pairs of rows, as :func:`torch.nn.functional.pdist`, and twice differentiable.

    Args:
        input: shape (N, D), float32 or float64.
        p: of the norm, from 0 to infinity.

    Returns:
        The distances of rows 0 and 1, 0 and 2, ..., 1 and 2, ..., shape (N (N − 1) / 2).

    Raises:
        RuntimeError: if ``input`` does not have two axes or is not floating point, or ``p`` is negative.
        NotImplementedError: if ``input`` is of a half type.
    """
    check_tensors("pdist", input=input)
    if input.dim() != 2:
        raise RuntimeError(f"pdist: expected an input of shape (N, D), but got {list(input.shape)}")
    if not (input.is_floating_point() or input.is_complex()):
        raise RuntimeError(f"pdist: expected a floating-point input, but got {input.dtype}; cast it")
    if not p >= 0:
        raise RuntimeError(f"pdist: p must be at least 0, but got {p}")
    return apply(PDistFunction, input, float(p), autocast=FLOAT32_ON_ACCELERATOR)
