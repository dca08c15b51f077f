# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 11. A ladder for your own layer
#
# A backward with the right numbers is the first rung. At the end of this lesson you will have taken a layer
# of your own up the others: derivatives of derivatives, gradients sample by sample, half precision, any
# memory layout, and little memory. On each rung there is a version that is broken in one way, and you mend
# it. Needs: lessons [2](02_linear.ipynb) and [3](03_activations.ipynb); second derivatives. Time: about 75
# minutes.

# %% tags=["setup"]
# On Colab, this fetches manualgrad first. Where it is installed, it does nothing.
import importlib.util
import os
import sys

if importlib.util.find_spec("manualgrad") is None:
    address = "https://github.com/manualgrad/manualgrad"  # or that of your own copy
    os.system(f"git clone -q {address} && pip install -q './manualgrad[notebooks]'")
    sys.path += ["manualgrad", "manualgrad/notebooks"]

# %%
import math

import lesson
import matplotlib.pyplot as plt
import torch
from torch import nn

from manualgrad import check
from manualgrad.function import wide

torch.manual_seed(0)
lesson.style()

# %% [markdown]
# ## The idea
#
# Someone has an idea for a layer, writes forward and backward, trains a network with it, and it works. Then
# somebody else uses it in a way its author did not think of: a loss that contains a gradient; one gradient
# per sample; a network in half precision; a picture that lies in memory in another order. In all these cases
# a careless backward does one of two things: it stops with an error, or it gives wrong numbers without a
# word. The second is worse.
#
# `check` asks for these uses one by one. Each of its rows is a rung:
#
# | rung | the question | the row of the report |
# |---|---|---|
# | 1 | Is it the derivative? | gradient |
# | 2 | Can it be differentiated again? | double gradient |
# | 3 | Does it work on a batch of gradients? | batched gradient |
# | 4 | Does each gradient fit its argument, in every precision? | dtypes and shapes, half precision |
# | 5 | Does it depend on the order in memory, or on who else wants a gradient? | layouts, partial gradients |
# | 6 | What does it keep? | none: we measure it |
#
# The report has three rows more. `parity` compares with another layer that computes the same; we come to it
# at the end. `ties` (two maxima that are equal) and `tiny probabilities` (the logarithm of nearly 0) ask
# about dangers that our layer does not have.
#
# Our layer is a gated activation. Each number $x$ is multiplied by a gate between 0 and 1 that $x$ itself
# opens:
#
# $$y = x\,\sigma(\beta x), \qquad \sigma(a) = \frac{1}{1 + e^{-a}}.$$
#
# $\beta$ is a parameter, one for each channel, and it is learned. It says how sharply the gate opens. The
# next cell draws the layer and its slope for four values of $\beta$.

# %%
x = torch.linspace(-4, 4, 400, requires_grad=True)
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.0))
for beta, colour in ((0.0, lesson.GREY), (0.5, lesson.GREEN), (1.0, lesson.BLUE), (4.0, lesson.ORANGE)):
    y = x * torch.sigmoid(beta * x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    axes[0].plot(x.detach(), y.detach(), color=colour, label=rf"$\beta = {beta:g}$")
    axes[1].plot(x.detach(), slope, color=colour)
axes[0].set(xlabel="x", title=r"$y = x\,\sigma(\beta x)$")
axes[1].set(xlabel="x", title="the slope of y by x")
axes[0].legend()
plt.show()

# %% [markdown]
# With $\beta = 0$ it is a line, with large $\beta$ nearly ReLU, and in between something smooth that dips
# below zero.
#
# ## By hand
#
# One number: $x = 2$, and $\beta$ such that $\beta x = \ln 3$, so $\beta = \frac{\ln 3}{2} \approx 0.549$.
# Then $e^{-\beta x} = \frac13$, and the gate is $s = \sigma(\ln 3) = \frac{1}{1 + 1/3} = \frac34$.
#
# - Forward: $y = 2 \cdot \frac34 = 1.5$.
# - The slope of the sigmoid is $s(1 - s) = \frac34 \cdot \frac14 = \frac{3}{16}$.
# - By $x$: both factors of $x\,\sigma(\beta x)$ depend on it, so
#   $s + x \cdot \beta s (1 - s) = \frac34 + \ln 3 \cdot \frac{3}{16} \approx 0.956$.
# - By $\beta$: $x \cdot x\,s(1 - s) = 4 \cdot \frac{3}{16} = 0.75$.
#
# And the slope's own slope, by $x$? With the formula that the derivation below finds,
# $2 \beta s(1-s) + \beta^2 x\, s(1-s)(1-2s)$: the first part is $2 \cdot 0.5493 \cdot 0.1875 = 0.2060$, the
# second $0.3017 \cdot 2 \cdot 0.1875 \cdot (-0.5) = -0.0566$, together $0.1494$.

# %%
x, beta = torch.tensor(2.0, requires_grad=True), torch.tensor(math.log(3) / 2, requires_grad=True)
y = x * torch.sigmoid(beta * x)
by_x, by_beta = torch.autograd.grad(y, (x, beta), create_graph=True)
(by_x_twice,) = torch.autograd.grad(by_x, x)
print(f"y {y:.4f}, by x {by_x:.4f}, by beta {by_beta:.4f}, by x twice {by_x_twice:.4f}")
expected = torch.tensor([1.5, 0.75 + math.log(3) * 3 / 16, 0.75, 0.1494])
assert torch.allclose(torch.stack([y, by_x, by_beta, by_x_twice]), expected, atol=1e-4)

# %% [markdown]
# ## The derivation
#
# **Once.** Let $x$ have the shape $(\dots, C)$, with $C$ channels last, and $\beta$ the shape $(C)$. Write
# $s = \sigma(\beta x)$. We need $\sigma' = \sigma(1 - \sigma)$, which is lesson 3. With the product rule, for
# each number,
#
# $$\frac{\partial y}{\partial x} = s + \beta x\, s (1 - s), \qquad
# \frac{\partial y}{\partial \beta} = x^2 s (1 - s).$$
#
# Let $L$ be the loss and $g = \partial L / \partial y$, of the shape of $y$. Each $x$ makes one $y$; but
# $\beta_c$ is used by all numbers of channel $c$, and so its gradient is a sum over these:
#
# $$\frac{\partial L}{\partial x} = g \,\big(s + \beta x\, s(1 - s)\big), \qquad
# \frac{\partial L}{\partial \beta_c} = \sum_{\text{all } x \text{ in channel } c} g\, x^2 s (1 - s).$$
#
# **Twice.** Look at the first formula in another way. Backward takes $g$, $x$ and $\beta$ and makes
# $\partial L / \partial x$. So it is itself a layer, with three inputs, and it has derivatives by all three.
# By $g$ it is linear, and the derivative is the slope. By $x$ we need the slope's slope. With
# $\frac{\partial s}{\partial x} = \beta s(1-s)$ and, by the product rule,
# $\frac{\partial}{\partial x}\, s(1-s) = \beta s (1-s)(1-2s)$,
#
# $$\frac{\partial^2 y}{\partial x^2} = \beta s(1-s) + \beta s(1-s) + \beta x \cdot \beta s(1-s)(1-2s)
# = 2 \beta s(1-s) + \beta^2 x\, s(1-s)(1-2s).$$
#
# Nobody has to write that into the code. Backward consists of operations that PyTorch knows: products, sums,
# sigmoids. When it is asked to, it records them and differentiates them, as it does with any other code. All
# it asks for is that **every way from $x$ to the result is visible to it**. Where your backward uses a number
# that was computed from $x$ out of its sight, that number is a constant to it, its derivative is taken to be
# zero, and no error tells you so. That is rung 2.
#
# ## Your turn
#
# ### Rung 1: the derivative
#
# Everything is given but the two formulas. As long as there is a hole, the report says "not written".


# %% tags=["exercise"]
class GatedFunction(torch.autograd.Function):
    """y = x sigmoid(beta x); x: (..., C), beta: (C)."""

    @staticmethod
    def forward(x, beta):
        return x * torch.sigmoid(beta * x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y):
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        # Your code: two lines. The second gradient has the shape of beta.
        raise NotImplementedError("grad_x = ?  grad_beta = ?")


# %% tags=["check"]
torch.manual_seed(0)
x, beta = torch.randn(4, 6, 3), torch.tensor([0.5, 1.0, 2.0])
check(GatedFunction, x, beta)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Both formulas are in the derivation, letter by letter. `s * (1 - s)` is in both: give it a name.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The sum for `beta` runs over all axes but the last. With any number of axes:
# `.reshape(-1, len(beta)).sum(0)`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class GatedSolution(GatedFunction):
    """Forward    y = x s,   s = σ(βx)
    Backward   ∂L/∂x = g (s + βx s(1 − s)),   ∂L/∂β = Σ g x² s(1 − s)
    Saves      x, β
    """

    @staticmethod
    def backward(ctx, grad_y):
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        bend = s * (1 - s)
        grad_x = grad_y * (s + beta * x * bend)
        grad_beta = (grad_y * x * x * bend).reshape(-1, len(beta)).sum(0)
        return grad_x, grad_beta


# %% tags=["choose"]
Gated = lesson.choose(GatedFunction, GatedSolution, x, beta)

# %% [markdown]
# A mistake on purpose: the sum over the samples is left out, and the gradient of `beta` has the shape of `x`.
# Guess first which rows will complain.


# %%
class WrongGated(GatedFunction):
    @staticmethod
    def backward(ctx, grad_y):
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        bend = s * (1 - s)
        return grad_y * (s + beta * x * bend), grad_y * x * x * bend  # should be summed


check(WrongGated, x, beta)

# %% [markdown]
# The numbers are right, and the row `gradient` is ok! Autograd sees a gradient of a shape that can be summed
# to that of `beta`, and sums it without a word. It is a courtesy that one should not lean on: it hides the
# mistake where shapes fit by chance, and a gradient as large as `x` was made for nothing. Only
# `dtypes and shapes` looks at what your backward itself returned, and names the mistake. This is why the
# ladder has more than one rung.
#
# ### Rung 2: differentiate it again
#
# Who needs the derivative of a gradient? Anyone whose loss contains one. Below the exercise there is one that
# asks for slopes of length 1. The next version wants to save time: forward has computed the sigmoid already,
# so why do it again? `setup_context` puts it onto `ctx`. Run the check, see which row is red, and mend it.


# %% tags=["exercise"]
class TwiceFunction(GatedFunction):
    """The gated activation; broken on rung 2."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, beta = inputs
        ctx.s = torch.sigmoid(beta * x)
        ctx.save_for_backward(x, beta)

    @staticmethod
    def backward(ctx, grad_y):
        x, beta = ctx.saved_tensors
        bend = ctx.s * (1 - ctx.s)
        grad_x = grad_y * (ctx.s + beta * x * bend)
        grad_beta = (grad_y * x * x * bend).reshape(-1, len(beta)).sum(0)
        return grad_x, grad_beta


# %% tags=["check"]
check(TwiceFunction, x, beta)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `setup_context` runs where PyTorch does not record. So `ctx.s` is a constant, although it came from `x` and
# `beta`. The first derivative does not mind. The second loses all terms in which $s$ is differentiated.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# What comes out of `ctx.saved_tensors` and is an **input** or an **output** of forward is known to the graph.
# Everything else has to be computed from these inside `backward`. What would be left of `setup_context`?
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class TwiceSolution(GatedFunction):
    """As rung 1: only inputs are saved, and s is computed where it is used."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y):
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        bend = s * (1 - s)
        grad_x = grad_y * (s + beta * x * bend)
        grad_beta = (grad_y * x * x * bend).reshape(-1, len(beta)).sum(0)
        return grad_x, grad_beta


# %% tags=["choose"]
Twice = lesson.choose(TwiceFunction, TwiceSolution, x, beta)

# %% [markdown]
# What the mistake does in practice: a **gradient penalty**. A small network $f(x)$ makes a number of each
# point $x$, and the penalty $P = \sum (\lVert \partial f / \partial x \rVert - 1)^2$ asks for slopes of
# length 1. $P$ contains a gradient, so its own gradient by the weights needs the second derivative of every
# layer. We compare with a difference quotient: move one weight by $\pm 10^{-6}$ and see how much $P$ changes.


# %%
class Broken(GatedFunction):  # rung 2 as it stood above, before you mended it
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.s = torch.sigmoid(inputs[1] * inputs[0])
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y):
        x, beta = ctx.saved_tensors
        bend = ctx.s * (1 - ctx.s)
        return grad_y * (ctx.s + beta * x * bend), (grad_y * x * x * bend).sum(0)


torch.manual_seed(0)
points = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
first, second = torch.randn(2, 3, dtype=torch.float64), torch.randn(3, 1, dtype=torch.float64)


def penalty(layer, first):
    f = layer.apply(points @ first, beta.double()) @ second
    (slopes,) = torch.autograd.grad(f.sum(), points, create_graph=True)
    return ((slopes.norm(dim=1) - 1) ** 2).sum()


# %%
moved = torch.zeros_like(first)
moved[0, 0] = 1e-6
quotient = (penalty(Twice, first + moved) - penalty(Twice, first - moved)) / 2e-6
print(f"difference quotient  {quotient.item():.6f}")
for name, layer in (("rung 2 mended", Twice), ("rung 2 broken", Broken)):
    weight = first.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(layer, weight), weight)
    print(f"{name}        {gradient[0, 0].item():.6f}")

# %% [markdown]
# The broken one is off by almost a third, and nothing says so.
#
# **Why `save_for_backward`, and not `ctx.x = x`?** For inputs, both give right second derivatives. But a
# tensor in `save_for_backward` is watched. If someone changes it in place between forward and backward,
# autograd notices. A tensor on `ctx` is just there, whatever it holds by then. The cell below tries both,
# with $x = 2w$ for $w = 1$, and then overwrites $x$ with zeros. There is more: tensors on `ctx` are not
# released after backward, an output on `ctx` is a circle of references that keeps its memory, and tools that
# measure or move saved tensors do not see them. So: tensors through `save_for_backward`, everything else,
# such as numbers and flags, onto `ctx`.


# %%
class OnCtx(GatedFunction):
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.x, ctx.beta = inputs

    @staticmethod
    def backward(ctx, grad_y):
        s = torch.sigmoid(ctx.beta * ctx.x)
        return grad_y * (s + ctx.beta * ctx.x * s * (1 - s)), None


start = torch.ones(3, requires_grad=True)
(gradient,) = torch.autograd.grad(Twice.apply(start * 2, beta).sum(), start)
print(f"right: {[round(number, 2) for number in gradient.tolist()]}")
for layer in (Twice, OnCtx):
    start = torch.ones(3, requires_grad=True)
    between = start * 2
    y = layer.apply(between, beta)
    between.zero_()  # someone reuses the memory
    try:
        (gradient,) = torch.autograd.grad(y.sum(), start)
        print(f"{layer.__name__}: {gradient.tolist()}, without a word")
    except RuntimeError as error:
        print(f"{layer.__name__}: {str(error).split(': ')[0]}")

# %% [markdown]
# ### Rung 3: a batch of gradients
#
# `vmap` runs a function on a whole batch at once, although the function was written for one. PyTorch uses it
# where many gradients are wanted: one per output, for a Jacobian; or one per sample, to see which sample
# pulls where. For your backward it means that tensors have an axis more than their `.shape` shows. Nearly all
# operations can do this. What cannot is writing a batched tensor into one that is not: there is no room for
# the further axis.
#
# The next version collects the sum channel by channel. (It also sets `generate_vmap_rule`. Leave that in; it
# is explained after the exercise.) Run the check and mend it. The report says "not for vmap", and the line
# above that, which is PyTorch's own, has the name of what it could not do: `copy_`, a copy into a tensor.


# %% tags=["exercise"]
class BatchedFunction(GatedFunction):
    """The gated activation; broken on rung 3."""

    generate_vmap_rule = True

    @staticmethod
    def backward(ctx, grad_y):
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        bend = s * (1 - s)
        grad_beta = torch.zeros_like(beta)
        for channel in range(len(beta)):
            grad_beta[channel] = (grad_y * x * x * bend)[..., channel].sum()
        return grad_y * (s + beta * x * bend), grad_beta


# %% tags=["check"]
check(BatchedFunction, x, beta)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `grad_beta[channel] = ...` writes in place, into a tensor that knows of no batch. Make the result in one
# piece, as on rung 1, or collect the channels in a list and `torch.stack` it.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class BatchedSolution(GatedFunction):
    """Out of place throughout: so every operation may have a further axis."""

    generate_vmap_rule = True

    @staticmethod
    def backward(ctx, grad_y):
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        bend = s * (1 - s)
        grad_beta = (grad_y * x * x * bend).reshape(-1, len(beta)).sum(0)
        return grad_y * (s + beta * x * bend), grad_beta


# %% tags=["choose"]
Batched = lesson.choose(BatchedFunction, BatchedSolution, x, beta)

# %% [markdown]
# What does `generate_vmap_rule = True` do? With it, `torch.func.vmap` may go through forward, too: PyTorch
# derives from your code how to run it on a batch. It can do so because `forward`, `setup_context` and
# `backward` are separate, and are functions of tensors without side effects. (In the older style,
# `forward(ctx, ...)` does both at once, and vmap refuses.) So we get a gradient of $\beta$ **for each
# sample**, in one call. The sum over the samples is what backward returns.


# %%
def of_one_sample(beta, sample, layer):
    return (layer.apply(sample, beta) ** 2).sum()


def per_sample(layer):
    gradient = torch.func.grad(lambda beta, sample: of_one_sample(beta, sample, layer))
    return torch.func.vmap(gradient, in_dims=(None, 0))(beta, x)


together = beta.clone().requires_grad_()
(summed,) = torch.autograd.grad(of_one_sample(together, x, Batched), together)
print("sample by sample:", per_sample(Batched), sep="\n")
assert torch.allclose(per_sample(Batched).sum(0), summed, rtol=1e-4)

try:
    per_sample(Twice)  # the same backward, without generate_vmap_rule
except RuntimeError as error:
    print(str(error).split(". ")[0])

# %% [markdown]
# ### Rung 4: precision
#
# Networks are trained in half precision: 16 bits for a number in place of 32. `float16` has 11 bits for the
# digits, `bfloat16` only 8, which are two or three decimal digits. Single products bear that well. Long sums
# do not, if the running total is kept in half: from some size on, adding 1 changes nothing, since the result
# is rounded back.

# %%
for dtype in (torch.float16, torch.bfloat16):
    total = torch.zeros((), dtype=dtype)
    for _ in range(4096):
        total = total + torch.ones((), dtype=dtype)
    at_once = torch.ones(4096, dtype=dtype).sum()
    print(f"{dtype}: 1 added 4096 times is {total.item():.0f}; torch.sum says {at_once.item():.0f}")

# %% [markdown]
# `torch.sum` is right because inside it counts in float32 and rounds once, at its end. So the rule is:
# **inputs and results may be half; what happens between is float32**. The library has a function for it,
# `wide(x)`: float32 for the two half types, and everything else as it is.
#
# There is a second reason. Under autocast, which runs the large products of a network in half precision, the
# kinds meet: `x` comes in bfloat16 from a linear layer, and the parameter $\beta$ is float32. Each gradient
# must then have the dtype of *its* argument. Your Function sees to it.
#
# The next version computes in `wide`. It forgets something on the way out. What?


# %% tags=["exercise"]
class PreciseFunction(GatedFunction):
    """The gated activation, computed in float32 where tensors are half; broken on rung 4."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, beta):
        y = wide(x) * torch.sigmoid(wide(beta) * wide(x))
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx, grad_y):
        x, beta = (wide(tensor) for tensor in ctx.saved_tensors)
        s = torch.sigmoid(beta * x)
        bend = s * (1 - s)
        grad_x = grad_y * (s + beta * x * bend)
        grad_beta = (grad_y * x * x * bend).reshape(-1, len(beta)).sum(0)
        return grad_x, grad_beta


# %% tags=["check"]
check(PreciseFunction, x, beta)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The row says which dtype was returned and which one the argument has. In backward, `x` and `beta` are the
# wide ones: keep the saved ones under other names, so that you still know their dtypes, and end with
# `.to(...)`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class PreciseSolution(PreciseFunction):
    """Half on the way in and out, float32 between."""

    generate_vmap_rule = True

    @staticmethod
    def backward(ctx, grad_y):
        saved_x, saved_beta = ctx.saved_tensors
        x, beta = wide(saved_x), wide(saved_beta)
        s = torch.sigmoid(beta * x)
        bend = s * (1 - s)
        grad_x = grad_y * (s + beta * x * bend)
        grad_beta = (grad_y * x * x * bend).reshape(-1, len(beta)).sum(0)
        return grad_x.to(saved_x.dtype), grad_beta.to(saved_beta.dtype)


# %% tags=["choose"]
Precise = lesson.choose(PreciseFunction, PreciseSolution, x, beta)

# %% [markdown]
# What is it worth? Both gradients over 4096 rows in bfloat16, as on rung 1, as on this rung, and with the
# gradient of $\beta$ added up row by row, as a loop would do it. The yardstick is float64, from the same
# rounded inputs; errors are relative to the largest number. One rounding to bfloat16 may be off by 0.4 %.


# %%
class RowByRow(GatedFunction):
    """Rung 1 with a loop in the place of sum(0): the total is kept in the dtype of the inputs."""

    @staticmethod
    def backward(ctx, grad_y):
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        bend, total = s * (1 - s), torch.zeros_like(beta)
        for row in (grad_y * x * x * bend).reshape(-1, len(beta)):
            total = total + row
        return grad_y * (s + beta * x * bend), total


torch.manual_seed(0)
rows, ones = torch.randn(4096, 3).bfloat16(), torch.ones(4096, 3).bfloat16()


def gradients(layer, dtype):
    points = [tensor.to(dtype).requires_grad_() for tensor in (rows, beta.bfloat16())]
    return [grad.double() for grad in torch.autograd.grad(layer.apply(*points), points, ones.to(dtype))]


def off(found, expected):
    return f"{100 * (found - expected).abs().max() / expected.abs().max():5.2f} %"


exact_x, exact_beta = gradients(Batched, torch.float64)
for name, layer in (("rung 1", Gated), ("row by row", RowByRow), ("rung 4", Precise)):
    grad_x, grad_beta = gradients(layer, torch.bfloat16)
    print(f"{name:<10}  x off by {off(grad_x, exact_x)},  beta off by {off(grad_beta, exact_beta)}")

# %% [markdown]
# The sum over the rows comes out well on both rungs: the errors of the single products point in all
# directions and cancel, and `sum` counts in float32. Added row by row, the total soon is so large that a
# further row hardly moves it, and more than half of the gradient is lost. The gradient of `x` has no sum; but
# it is put together from several rounded steps, and on rung 4 there is only one rounding left, the last.
#
# The row `half precision` looks for this. It allows for a few roundings, as many as the operations of the
# layer make, and for no more. With 24 numbers in each channel, as above, even the loop would pass: a short
# sum does no harm. With 512 it does.

# %%
check(RowByRow, torch.randn(512, 3), beta)

# %% [markdown]
# "Accumulated in half" is the answer, and everything else is right. Test sums at a length at which they will
# be used.
#
# PyTorch has a pair of decorators, `torch.amp.custom_fwd` and `torch.amp.custom_bwd`, which cast all inputs
# of a Function under autocast. They were made for the older style, `forward(ctx, ...)`, and keep their notes
# on the first argument, which there is `ctx`. With a separate `setup_context` there is no `ctx` in forward,
# so cast outside, before `apply`, as the library does; or do as here, and accept what comes.
#
# ### Rung 5: layouts, and who needs a gradient
#
# A tensor is a piece of memory and a way to walk through it. After a transpose the steps are others; after
# `expand`, which `sum().backward()` uses for its gradient, many elements are one and the same place in
# memory. Two rules follow. Only *read* `grad_y`: it belongs to others, too. And make no guess about the order
# of memory: `reshape`, which copies if it must, and not `view`.
#
# The second half of this rung: not every argument always needs a gradient. $\beta$ may be frozen.
# `ctx.needs_input_grad` says, argument by argument, what is wanted, and what is not wanted need not be
# computed, nor what is needed for it be saved. But think before you save less!
#
# The next version breaks three rows, with two lines: one of the lines breaks two. The names that the report
# gives to the mistakes under `layouts` and `partial gradients` lead to the lines. Under `double gradient` you
# read what PyTorch makes of one of them: a tensor that is needed to differentiate backward was overwritten.


# %% tags=["exercise"]
class CarefulFunction(PreciseFunction):
    """The gated activation; broken on rung 5, twice."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, beta = inputs
        ctx.save_for_backward(x if ctx.needs_input_grad[0] else None, beta)

    @staticmethod
    def backward(ctx, grad_y):
        saved_x, saved_beta = ctx.saved_tensors
        x, beta = wide(saved_x), wide(saved_beta)
        s = torch.sigmoid(beta * x)
        bend = s * (1 - s)
        grad_beta = (grad_y * x * x * bend).reshape(-1, len(beta)).sum(0).to(saved_beta.dtype)
        grad_x = grad_y.mul_(s + beta * x * bend)  # saves the memory of a new tensor
        return grad_x, grad_beta


# %% tags=["check"]
check(CarefulFunction, x, beta)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A name that ends with an underscore, such as `mul_`, writes into the tensor that it is called on.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Which of the two gradients needs the number `x`? In a linear layer, $y = xW^\top$, the gradient of `x` needs
# only $W$ and that of $W$ only `x`. And here? Instead of saving less, *compute* less:
# `if ctx.needs_input_grad[1]`, else `None`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class CarefulSolution(PreciseFunction):
    """Both gradients need x and β, so both are saved; but a gradient that nobody wants is not computed."""

    generate_vmap_rule = True

    @staticmethod
    def backward(ctx, grad_y):
        saved_x, saved_beta = ctx.saved_tensors
        x, beta = wide(saved_x), wide(saved_beta)
        s = torch.sigmoid(beta * x)
        bend, grad_x, grad_beta = s * (1 - s), None, None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_y * (s + beta * x * bend)).to(saved_x.dtype)
        if ctx.needs_input_grad[1]:
            grad_beta = (grad_y * x * x * bend).reshape(-1, len(beta)).sum(0).to(saved_beta.dtype)
        return grad_x, grad_beta


# %% tags=["choose"]
Careful = lesson.choose(CarefulFunction, CarefulSolution, x, beta)

# %% [markdown]
# ### Rung 6: memory
#
# Between forward and backward every layer keeps something, for all layers at once. That, and not the weights,
# is what fills the memory when a network is trained. `torch.autograd.graph.saved_tensors_hooks` calls a
# function of ours with each tensor that goes into `save_for_backward`, of PyTorch's own operations too. So we
# can add up the bytes. A piece of memory that is saved twice counts once.


# %%
def kept(compute, weights=()):
    """The bytes that the graph of ``compute()`` keeps for backward, without ``weights``."""
    pieces, known = {}, {weight.data_ptr() for weight in weights}

    def pack(tensor):
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in known:
            pieces[memory.data_ptr()] = memory.nbytes(), tensor  # the tensor too, so that it stays there
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = compute()
    return sum(size for size, _ in pieces.values())


large, leaf = torch.randn(4096, 256, requires_grad=True), torch.ones(256, requires_grad=True)
print(f"x itself:                {large.nbytes / 1e6:.1f} MB")
print(f"by autograd:             {kept(lambda: large * torch.sigmoid(leaf * large)) / 1e6:.1f} MB")
print(f"your Function, rung 5:   {kept(lambda: Careful.apply(large, leaf)) / 1e6:.1f} MB")

# %% [markdown]
# Autograd keeps `x` and the sigmoid, since it sees two operations and each saves for itself. You keep `x`
# alone, and pay with a second sigmoid in backward. This trade is called **recomputation**; the extreme is
# checkpointing, which keeps only the input of a whole block and runs its forward once more.
#
# Can one keep less than `x`? The output `y` would be free, because the next layer keeps it anyway, as its
# input. For a tanh that works (lesson 3). Here it does not: the curve falls and rises, so two different `x`
# have the same `y`.
#
# The last version has another idea: it keeps `x` in bfloat16, which is half of the bytes. Run the check. This
# time the diagnosis has no name for the mistake; the numbers must tell.


# %% tags=["exercise"]
class LeanFunction(PreciseFunction):
    """The gated activation with half of the bytes; broken on rung 6."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, beta = inputs
        ctx.save_for_backward(x.bfloat16(), beta)
        ctx.dtype = x.dtype

    @staticmethod
    def backward(ctx, grad_y):
        saved_x, saved_beta = ctx.saved_tensors
        x, beta = wide(saved_x.to(ctx.dtype)), wide(saved_beta)
        s = torch.sigmoid(beta * x)
        bend, grad_x, grad_beta = s * (1 - s), None, None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_y * (s + beta * x * bend)).to(ctx.dtype)
        if ctx.needs_input_grad[1]:
            grad_beta = (grad_y * x * x * bend).reshape(-1, len(beta)).sum(0).to(saved_beta.dtype)
        return grad_x, grad_beta


# %% tags=["check"]
print(f"{kept(lambda: LeanFunction.apply(large, leaf)) / 1e6:.1f} MB")
check(LeanFunction, x, beta)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Compare the expected numbers with those it got: they are close, but not equal. A backward that rounds is not
# the derivative of this forward. (`double gradient` is ok all the same: it asks whether the derivative of
# backward is right, whatever backward computes.) Some people want exactly that trade, and say so. For a layer
# that others use, save `x` itself: then `ctx.dtype` is not needed either. The bytes are as on rung 5.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class LeanSolution(CarefulSolution):
    """The top of the ladder: everything as on rung 5, x saved as it is.

    Forward    y = x s,   s = σ(βx)
    Backward   ∂L/∂x = g (s + βx s(1 − s)),   ∂L/∂β = Σ g x² s(1 − s)
    Shapes     x, y: (…, C);   β: (C)
    Saves      x, β
    """


# %% tags=["choose"]
Top = lesson.choose(LeanFunction, LeanSolution, x, beta)

# %% [markdown]
# The wish behind is sound, though. Under autocast `x` *is* bfloat16 when it arrives, and then the layer keeps
# half of the bytes by itself, and loses nothing.
#
# **Rung 7: `torch.compile`.** It reads your forward and backward and makes faster code of them. What it asks
# for you have already done: functions of tensors, no side effects, nothing on `ctx` but plain values, no
# decisions that depend on the numbers in a tensor (`if x.max() > 0`). We do not run it here, because
# compiling takes a while. Try `torch.compile(module, fullgraph=True)`: it stops with an error wherever it
# cannot read on.
#
# **Rung 8: a place for it.** A layer that others should find needs a page with its derivation and a row in a
# table of tests. We come to it below.
#
# ## On MNIST
#
# Your layer becomes a module. It holds $\beta$ and calls the Function. Then it takes the place of the
# activations in a network of three linear layers, trained once in float32 and once under autocast with
# bfloat16.


# %%
class GatedUnit(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.beta = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return Top.apply(x, self.beta)


class Reader(nn.Module):
    def __init__(self, half):
        super().__init__()
        self.half = half
        self.layers = nn.Sequential(
            *(nn.Flatten(), nn.Linear(784, 128), GatedUnit(128), nn.Linear(128, 64)),
            *(GatedUnit(64), nn.Linear(64, 10)),
        )

    def forward(self, images):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half):
            return self.layers(images)


# %% [markdown]
# First a look at what comes along: the dtype behind each layer, and the bytes kept for a batch of 500 digits.
# Your unit hands on what it got. The one of rung 1 would have answered in float32, since $\beta$ is float32.

# %%
data, test = lesson.digits(train=20_000, test=2_000)
seen = []
reader = Reader(half=True)
for layer in reader.layers:
    layer.register_forward_hook(lambda layer, _, y: seen.append(f"{type(layer).__name__} {y.dtype}"))
reader(test.images[:8])
print(*seen, sep="\n")
batch = test.images[:500].clone()
for half in (False, True):
    reader = Reader(half)
    size = kept(lambda reader=reader: reader(batch), list(reader.parameters()))
    print(f"{'bfloat16' if half else 'float32 '}: {size / 1e6:.2f} MB kept")

# %%
curves = {}
for name, half in (("float32", False), ("bfloat16 autocast", True)):
    torch.manual_seed(0)
    reader = Reader(half)
    curves[name] = lesson.train(reader, data, epochs=2, lr=0.1, momentum=0.5)
    print(f"{name}: {lesson.accuracy(reader, test):.1f} % of the test digits read rightly")
betas = reader.layers[4].beta.detach()
print(f"beta of the second unit: {betas.min():.2f} to {betas.max():.2f}")

# %%
for (name, losses), colour, style in zip(curves.items(), (lesson.BLUE, lesson.ORANGE), ("-", "--")):
    smooth = torch.tensor(losses).unfold(0, 20, 20).mean(1)
    plt.plot(range(20, len(losses) + 1, 20), smooth, style, color=colour, label=name)
plt.xlabel("step")
plt.ylabel("loss, mean of 20 steps")
plt.title("The same network in two precisions")
plt.legend()
plt.show()

# %% [markdown]
# The two curves lie on each other, and so do the accuracies. $\beta$, which is float32 in both, has moved a
# little from 1, where it started. The products run in half precision, the sums in float32, and the network
# keeps half of the memory. On a processor that computes in bfloat16 it would be faster, too.
#
# ## What the library does
#
# The closest relative of your layer there is SiLU, in `manualgrad/layers/gating.py`: the same with
# $\beta = 1$. Its backward is three lines long:
#
#     (x,) = ctx.saved_tensors
#     sigma = torch.sigmoid(wide(x))
#     grad_x = (grad_y * (sigma * (1 + wide(x) * (1 - sigma)))).to(x.dtype)
#
# You recognize rung 2 (only `x` is saved), 3 (out of place), 4 (`wide`, and `.to` at the end), 5 (`grad_y` is
# only read) and 6. With $\beta = 1$ the two layers must agree, and both can be compared with PyTorch's.

# %%
import manualgrad.functional as F

once = torch.ones(3)
assert torch.allclose(F.silu(x), Top.apply(x, once))
check(F.silu, x)


# %%
def yours(x):
    return Top.apply(x, torch.ones(3, dtype=x.dtype))


check(yours, x, against=nn.functional.silu)

# %% [markdown]
# The row `parity` has a counterpart now. It asks for agreement to ten digits, of outputs and gradients.
#
# What all layers share is in `manualgrad/function.py`. The class `Function` there sets
# `generate_vmap_rule = True` and nothing more. The function `apply` goes before `Function.apply`: it casts
# the inputs if autocast is on, each layer by its own rule (`LOW` for matrix products, `FLOAT32` for losses),
# it asks whether there is a faster kernel for these inputs, and it takes a shorter way where no gradient is
# wanted.
#
# The ladder is longer there. The file `CONFORMANCE.md` holds a table with a row for each layer and a column
# for each question. The numbers say how many ways of calling the layer pass. This is SiLU's row, turned on
# its side:

# %%
table = (lesson.ROOT / "CONFORMANCE.md").read_text(encoding="utf-8").splitlines()
cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("|")]
(silu,) = [row for row in cells if row[0] == "`SiLU`"]
for question, passed in zip(cells[0][1:], silu[1:]):
    print(f"{question.replace('&shy;', ''):<30} {passed}")

# %% [markdown]
# ### Rung 8: into the catalog
#
# `CONTRIBUTING.md` says how a layer is added. There are two places.
#
# 1. **A page** in `manualgrad/layers/`. It holds the `Function`, whose docstring is the derivation under the
#    headings Forward, Backward, Shapes, Saves and Source; a functional, which checks its arguments and calls
#    `apply`; and a Module, which overrides `forward` alone.
# 2. **A row** in `manualgrad/catalog/`. It names the three and lists ways of calling the layer that together
#    reach every option, with a one-dimensional, a many-dimensional and an empty input. This is the row of
#    PReLU, shortened, which has a parameter for each channel as yours has:
#
# ```python
# Layer(
#     leaky.PReLU,
#     (leaky.PReLUFunction,),
#     leaky.prelu,
#     (
#         case(5, inputs=real(4, 5)),
#         case(3, 0.1, inputs=real(2, 3, 2, 2)),
#         case(num_parameters=5, init=0.5, inputs=real(0, 5)),
#     ),
#     edges=(case(inputs=LANDMARKS),),
# )
# ```
#
# Everything else follows from the row: the tests loop over all rows, and so does `check` on the command line.
# Is your layer ready? One question from the list you can ask now: an empty batch.

# %%
empty = torch.randn(0, 3, requires_grad=True)
leaf = torch.ones(3, requires_grad=True)
Top.apply(empty, leaf).sum().backward()
assert empty.grad.shape == (0, 3)
print(leaf.grad)

# %% [markdown]
# No samples, no gradient for $\beta$: three zeros, as it should be.
#
# ## The question behind
#
# Who checks derivatives? An automatic one is right by construction, so far as its parts are right; but people
# write parts by hand, for speed or memory, and a wrong gradient does not crash. Networks are robust: they
# often learn all the same, only worse, and nobody looks for the reason. What must a test ask so that it is
# enough? Difference quotients test points, not functions. They are blind at kinks, for tiny regions, in half
# precision. Selsam, Liang and Dill went further and let a proof assistant prove the gradients of a small
# system right, for all inputs. To do that for a whole library is out of reach so far.
#
# A second question hides in rung 6. How little can one keep? With recomputation, $n$ layers can do with the
# memory of about $\sqrt n$ of them, at the price of one more forward. What is optimal for real networks, with
# pieces of different cost and size, is a problem of scheduling that is still studied.
#
# And the layer itself? It had been proposed before, and in 2017 a computer that composed and tried many
# formulas found it again. Why it should often be better than ReLU is explained by nobody convincingly.
#
# - P. Ramachandran, B. Zoph, Q. Le, *Searching for activation functions*, 2017, arXiv:1710.05941
# - T. Chen, B. Xu, C. Zhang, C. Guestrin, *Training deep nets with sublinear memory cost*, 2016,
#   arXiv:1604.06174
# - D. Selsam, P. Liang, D. Dill, *Developing bug-free machine learning systems with formal mathematics*,
#   2017, arXiv:1706.08605
#
# ## What you know now
#
# - A right first derivative is one rung. Second derivatives are silently wrong if backward uses a number that
#   was computed from the inputs out of autograd's sight. So save inputs or outputs, with `save_for_backward`,
#   and compute the rest again.
# - Out of place, pure functions of tensors work under vmap; `generate_vmap_rule = True` gives gradients
#   sample by sample.
# - In half precision, inputs and results are half and what is between is float32. Each gradient has the dtype
#   and the shape of its argument.
# - `grad_y` is only read, nothing is assumed about the order in memory, and `ctx.needs_input_grad` says what
#   is wanted.
# - What a layer keeps can be measured. A second sigmoid is often cheaper than the memory of the first.
#
# Further exercises, without solution. (1) Take a layer of your own, say $y = x\,e^{-\alpha x^2}$ with a
# parameter $\alpha$, up the ladder. (2) Give `GatedFunction` a form in place, which overwrites `x` with `y`.
# What must it save, and what does it gain? Look at what the library does in `silu(inplace=True)`.
#
# Next: [lesson 12](12_responsible.ipynb).
