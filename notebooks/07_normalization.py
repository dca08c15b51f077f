# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 7. Batch and layer norm
#
# A norm layer shifts and scales numbers so that their mean is 0 and their spread is 1. In a layer such as
# ReLU, a gradient can be found one element at a time. Here it cannot: the mean and the spread depend on
# *every* element, so every input reaches every output. At the end you will know how to differentiate through
# them, why the result is a projection, and what it does for a deep network.
#
# Needs: lesson 1 (the chain rule, with several paths) and lesson 2 (what is repeated forward is summed
# backward); sums $\sum$, and the quotient rule. Time: about 60 minutes.

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
import lesson
import matplotlib.pyplot as plt
import torch
from torch import nn

import manualgrad
from manualgrad import check
from manualgrad.function import wide  # half precision becomes float32; float32 and float64 stay

lesson.style()
torch.manual_seed(0)
train_digits, test_digits = lesson.digits(train=10_000, test=2_000)

# %% [markdown]
# ## The idea
#
# A deep network is a chain: the output of a layer is the input of the next. Suppose each layer makes its
# numbers a little smaller, say by a factor of 0.6. After eight layers, $0.6^8 \approx 0.017$ is left. The
# last layer then sees almost the same numbers for every image, and on the way back the gradient shrinks in
# the same manner.
#
# Let us look. The next cell builds a network with eight hidden layers, sends 256 digits through it, and
# measures after each linear layer how much the numbers differ from one digit to the next (their standard
# deviation over the digits). It does so twice: as it is, and with a norm layer after each linear one.


# %%
def spreads(norm):
    torch.manual_seed(0)
    signal, measured = train_digits.images[:256].reshape(256, 784), []
    for _ in range(8):
        signal = nn.Linear(signal.shape[1], 64)(signal)
        signal = norm(signal)
        measured.append(signal.std(0).mean().item())
        signal = signal.relu()
    return measured


with torch.no_grad():
    without = spreads(lambda z: z)
    normed = spreads(lambda z: (z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True))
print(f"after layer 8: {without[-1]:.4f} without, {normed[-1]:.2f} with a norm")

# %%
layers = range(1, 9)
plt.plot(layers, without, "o-", color=lesson.RED, label="without a norm")
plt.plot(layers, normed, "o-", color=lesson.BLUE, label="with a norm")
plt.yscale("log")
plt.xlabel("layer")
plt.ylabel("spread over the digits")
plt.title("How much one digit still differs from another")
plt.legend()
plt.show()

# %% [markdown]
# Without a norm, what tells the digits apart fades from layer to layer, to a thousandth (mind the scale: each
# line is a tenth of the one above). With a norm, about half of it is kept.
#
# There are two common ways to choose which numbers share a mean. Picture the numbers that enter a layer as a
# table: a row for each sample (each image), a column for each feature.
#
# - **Layer norm** takes each row by itself: the features of one sample get mean 0 and spread 1.
# - **Batch norm** takes each column by itself: one feature gets mean 0 and spread 1 over the samples of the
#   batch.

# %%
row, column = torch.zeros(5, 6), torch.zeros(5, 6)
row[1] = 1
column[:, 2] = 1
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6))
for axis, chosen, title in zip(axes, (row, column), ("layer norm: a row", "batch norm: a column")):
    axis.imshow(chosen, cmap="Blues", vmin=0, vmax=1.6)
    axis.set_xticks(torch.arange(-0.5, 6).tolist(), [])
    axis.set_yticks(torch.arange(-0.5, 5).tolist(), [])
    axis.tick_params(length=0)
    axis.grid(color=lesson.GREY, alpha=0.6)
    axis.set_title(title)
    axis.set_xlabel("6 features")
    axis.set_ylabel("5 samples")
plt.show()

# %% [markdown]
# In both, two more steps follow: multiply by a weight $w$ and add a bias $b$, one of each per feature. They
# are parameters, learned like any other. So the network may choose another spread and another mean, but it
# chooses them directly, and no longer by the product of all layers before.
#
# ## By hand
#
# Three numbers: $x = (1, 4, 10)$. No weight, no bias.
#
# - The mean is $\mu = (1 + 4 + 10)/3 = 5$.
# - The deviations from it are $x - \mu = (-4, -1, 5)$. They sum to 0, as deviations from a mean always do.
# - The variance is the mean of their squares: $(16 + 1 + 25)/3 = 14$.
# - The standard deviation is its root: $\sigma = \sqrt{14} \approx 3.742$.
# - The output is $\hat x = (x - \mu)/\sigma \approx (-1.069, -0.267, 1.336)$.
#
# Now a question that a gradient answers. If $x_1$ grows a little, how fast does the *first output* grow? The
# first guess is $1/\sigma \approx 0.267$: for we divide by $\sigma$. But two more things
# happen. The mean grows too, by a third as much, and takes some away. And as $x_1 = 1$ moves towards the
# others, the spread shrinks, so everything is divided by less; $\hat x_1$ is negative, so it is pushed down.
#
# Let us just try it: move $x_1$ by a hundred-thousandth and see.


# %%
def norm(x):
    deviation = x - x.mean()
    return deviation / deviation.square().mean().sqrt()


x = torch.tensor([1.0, 4.0, 10.0], dtype=torch.float64)
print("output          ", norm(x))
for k in range(3):
    moved = x.clone()
    moved[k] += 1e-5
    print(f"moving x_{k + 1} by 1 would move the first output by {(norm(moved) - norm(x))[0] / 1e-5:.4f}")

# %% [markdown]
# So the first output grows with $x_1$ at the rate 0.0764, less than a third of what we guessed. It also
# changes with $x_2$ and with $x_3$, though $\hat x_1$ is "made of" $x_1$. The derivation below gives these
# numbers exactly. Here is its recipe for this example; why it is so comes later. Let the loss be the first
# output alone. Then the blame that arrives at the three outputs is
#
# $$\hat g = (1, 0, 0) .$$
#
# Two things are removed from it.
#
# - Its mean, $1/3$ from each: it leaves $(2/3, -1/3, -1/3)$.
# - The part of it that runs along the deviations $d = (-4, -1, 5)$, which is some multiple of $d$. Which one?
#   The mean of the products $\hat g\, d$ is $-4/3$; divided by the variance 14 it is $-2/21$; times $d$ it is
#   $(8/21, 2/21, -10/21)$. Taken away, this leaves
#   $(14 - 8,\ -7 - 2,\ -7 + 10)/21 = (6, -9, 3)/21 = (2, -3, 1)/7$.
#
# Divide by $\sigma = \sqrt{14}$, and the gradient is $(2, -3, 1)/(7\sqrt{14})$. The next cell compares.

# %%
by_hand = torch.tensor([2.0, -3.0, 1.0], dtype=torch.float64) / (7 * 14**0.5)
x.requires_grad_()
(by_autograd,) = torch.autograd.grad(norm(x)[0], x)
print(by_hand)
assert torch.allclose(by_hand, by_autograd)
assert abs(by_hand.sum()) < 1e-12
assert abs((by_hand * x.detach()).sum()) < 1e-12

# %% [markdown]
# The last two lines check something more: the gradient sums to 0, and its product with $x$ is 0. Keep them in
# mind. They hold for any $x$, and we shall see why.
#
# ## The derivation
#
# We take one row of numbers $x_1, \dots, x_N$. For layer norm it is a row of the table, for batch norm a
# column; the calculus is the same. The symbols:
#
# | symbol | meaning |
# |---|---|
# | $\mu = \frac1N \sum_i x_i$ | the mean |
# | $v = \frac1N \sum_i (x_i - \mu)^2$ | the variance |
# | $\varepsilon$ | a small constant, $10^{-5}$, so that we never divide by 0, even if all $x_i$ are equal |
# | $\sigma = (v + \varepsilon)^{1/2}$ | the standard deviation |
# | $\hat x_i = (x_i - \mu)/\sigma$ | the standardized number |
# | $y_i = w_i \hat x_i + b_i$ | the output, with weight $w_i$ and bias $b_i$ |
# | $L$ | the loss, one number that is computed from all $y_i$ by the rest of the network |
# | $g_i = \partial L/\partial y_i$ | what backward is given (`grad_y`) |
# | $\hat g_i = \partial L/\partial \hat x_i$ | the same, one step further back |
# | $\delta_{ij}$ | 1 if $i = j$, else 0 |
#
# We write $\operatorname{mean}(a)$ for $\frac1N \sum_i a_i$.
#
# ### The easy part
#
# In $y_i = w_i \hat x_i + b_i$ each output has its own $\hat x_i$, so
#
# $$\hat g_i = g_i w_i, \qquad \frac{\partial L}{\partial w_i} = \sum_{\text{samples}} g_i \hat x_i, \qquad
# \frac{\partial L}{\partial b_i} = \sum_{\text{samples}} g_i .$$
#
# The sums are there because all samples use the same $w$ and $b$, and what is used several times collects a
# gradient from each use. (In layer norm, the $x_i$ of a row are its features, and each has its own $w_i$. In
# batch norm, the $x_i$ of a column are the samples, and all of them have the same $w_i$.)
#
# ### Through the mean and the spread
#
# An $x_j$ reaches $\hat x_i$ by three roads: directly if $i = j$, through $\mu$, and through $\sigma$. We
# need the derivatives of the two statistics. The mean is simple, since $x_j$ is one of $N$ terms:
#
# $$\frac{\partial \mu}{\partial x_j} = \frac1N .$$
#
# The variance holds $x_j$ in its own square, and in every square through $\mu$. With
# $\partial (x_i - \mu)/\partial x_j = \delta_{ij} - \frac1N$:
#
# $$\frac{\partial v}{\partial x_j} = \frac1N \sum_i 2 (x_i - \mu)\Big(\delta_{ij} - \frac1N\Big)
# = \frac2N (x_j - \mu) - \frac{2}{N^2} \underbrace{\sum_i (x_i - \mu)}_{=\,0} = \frac2N (x_j - \mu).$$
#
# The deviations sum to 0, so the road "through the mean into the variance" adds nothing. Then the root:
#
# $$\frac{\partial \sigma}{\partial x_j} = \frac{1}{2 \sigma} \cdot \frac{\partial v}{\partial x_j}
# = \frac{x_j - \mu}{N \sigma} = \frac{\hat x_j}{N} .$$
#
# Now the quotient rule on $\hat x_i = (x_i - \mu)/\sigma$:
#
# $$\frac{\partial \hat x_i}{\partial x_j}
# = \frac{\delta_{ij} - \frac1N}{\sigma} - \frac{x_i - \mu}{\sigma^2} \cdot \frac{\hat x_j}{N}
# = \frac1\sigma \Big( \delta_{ij} - \frac1N - \frac{\hat x_i \hat x_j}{N} \Big).$$
#
# Three terms, for three roads. Last, the chain rule: $x_j$ reaches the loss through all $\hat x_i$, so we
# sum:
#
# $$\frac{\partial L}{\partial x_j} = \sum_i \hat g_i \frac{\partial \hat x_i}{\partial x_j}
# = \frac1\sigma \Big( \hat g_j - \frac1N \sum_i \hat g_i - \hat x_j \frac1N \sum_i \hat g_i \hat x_i \Big),$$
#
# and in one line for the whole row:
#
# $$\boxed{\ \frac{\partial L}{\partial x} = \frac1\sigma \Big( \hat g - \operatorname{mean}(\hat g)
# - \hat x \operatorname{mean}(\hat g\, \hat x) \Big)\ }$$
#
# ### What it looks like
#
# Think of a row as an arrow in a space of $N$ dimensions, and write $a \cdot u = \sum_i a_i u_i$ for the
# product of two arrows: it is 0 if they are at right angles. If all $x_i$ move along an arrow $u$, the loss
# grows at the rate $\sum_i u_i \, \partial L/\partial x_i$, the product of the gradient and $u$. Now, what
# would the norm layer not notice?
#
# - Adding the same number to all $x_i$. The mean takes it away again. So along the arrow
#   $\mathbf 1 = (1, 1, \dots, 1)$ the output does not change, and the product of the gradient with
#   $\mathbf 1$, which is the sum of the gradient, must be 0.
# - Multiplying all deviations by the same number. The division by $\sigma$ undoes it (but for $\varepsilon$).
#   So the product of the gradient with $\hat x$ must be 0 as well.
#
# That is all that the boxed formula says. Take $\varepsilon = 0$; then $\hat x$ has mean 0 and mean square 1.
# The share of an arrow $\hat g$ along an arrow $u$ is $u\, (\hat g \cdot u)/(u \cdot u)$, its *projection*;
# without this share, it is at right angles to $u$.
# Along $\mathbf 1$, where $\mathbf 1 \cdot \mathbf 1 = N$, it is $\operatorname{mean}(\hat g)$ in every
# place. Along $\hat x$, where $\hat x \cdot \hat x = N$, it is $\hat x \operatorname{mean}(\hat g\,\hat x)$.
# **Backward removes both, and divides by $\sigma$.**
#
# With $N = 3$ it can be drawn. Rows with mean 0 form a plane, and those with spread 1 form a circle in it, of
# radius $\sqrt 3$. Forward carries the row onto the circle. Backward keeps what runs along the circle.

# %%
row = torch.tensor([1.0, 4.0, 10.0])
basis = torch.tensor([[1.0, -1, 0], [1.0, 1, -2]])  # two axes of the plane, at right angles
basis = basis / basis.norm(dim=1, keepdim=True)
deviation, g_hat = row - row.mean(), torch.tensor([1.0, 0, 0])
x_hat = deviation / deviation.square().mean().sqrt()
centred = g_hat - g_hat.mean()
along = x_hat * (g_hat * x_hat).mean()
(x0, y0), far = (basis @ x_hat).tolist(), (basis @ deviation).tolist()

figure, axis = plt.subplots(figsize=(7, 3.6))
axis.add_patch(plt.Circle((0, 0), 3**0.5, fill=False, color=lesson.GREY))
axis.plot([0, far[0]], [0, far[1]], ":", color=lesson.GREY)
axis.annotate("to $x - \\mu$, at $\\sigma$ times\nthe distance", (-0.74, -2.15), (-0.55, -2.3), fontsize=9)
axis.plot(x0, y0, "o", color="black", label=r"$\hat x$, on the circle of spread 1")
removed, left = r"share along $\hat x$: removed", "what is left: it runs along the circle"
names = (r"$\hat g$ without its mean", removed, left)
colours = (lesson.ORANGE, lesson.RED, lesson.BLUE)
for arrow, colour, name in zip((centred, along, centred - along), colours, names):
    axis.quiver(x0, y0, *(basis @ arrow), color=colour, angles="xy", scale_units="xy", scale=1, label=name)
axis.set(xlim=(-2, 2), ylim=(-2.5, 2), aspect="equal", title="The plane of rows with mean 0")
axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown]
# ## Your turn
#
# ### Exercise 1: layer norm
#
# Below, `forward` and `setup_context` are given. `standardize` returns $\hat x$ and $1/\sigma$ over the axes
# that it is told, and keeps these as axes of length 1 (`keepdim=True`) so that shapes fit when you multiply.
# `wide` turns half precision into float32 and leaves other numbers alone; at the end the gradients are turned
# back.
#
# We save `x`, and compute $\hat x$ and $1/\sigma$ again in `backward`. Why not save them? Someone may
# differentiate your backward once more. If $\hat x$ came out of a drawer, it would count as a constant there.
# Computed from `x`, it is a function of `x`, as it should be.
#
# Replace the two lines after "Your code" by three lines: `grad_x`, `grad_weight` and `grad_bias`.


# %%
def standardize(x, axes, eps):
    """x̂ and 1/σ over ``axes``, in float32 at least."""
    x = wide(x)
    deviation = x - x.mean(axes, keepdim=True)
    rstd = torch.rsqrt(deviation.square().mean(axes, keepdim=True) + eps)  # 1/√
    return deviation * rstd, rstd


# %% tags=["exercise"]
class LayerNormFunction(torch.autograd.Function):
    """y = x̂ w + b, with x̂ = (x − mean)/σ over each row.  x, y: (B, N);  w, b: (N)."""

    @staticmethod
    def forward(x, weight, bias, eps):
        x_hat, _ = standardize(x, -1, eps)
        return (x_hat * weight + bias).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.eps = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        x_hat, rstd = standardize(x, -1, ctx.eps)
        g = wide(grad_y)
        # Your code, instead of the next two lines: gradients of x (B, N), weight (N) and bias (N).
        grad_x = grad_weight = grad_bias = None
        raise NotImplementedError("grad_x = ?  grad_weight = ?  grad_bias = ?")
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


# %% [markdown]
# Ask `check`. As long as the hole is there, it answers that backward is not written, and repeats what the
# hole asks for.

# %% tags=["check"]
x, weight, bias = torch.randn(4, 5), torch.randn(5), torch.randn(5)
check(LayerNormFunction, x, weight, bias, 1e-5)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Start with the easy two. `weight` and `bias` are used by every row of the batch: sum over axis 0.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# First `g_hat = g * weight`. A mean over each row is `something.mean(-1, keepdim=True)`, of shape (B, 1).
#
# </details>
#
# <details><summary>Hint 3</summary>
#
# The box above, from left to right: `rstd * (g_hat - ... - x_hat * ...)`, where both gaps are means over each
# row: one of `g_hat`, one of `g_hat * x_hat`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class LayerNormSolution(torch.autograd.Function):
    """y = x̂ w + b, with x̂ = (x − mean)/σ over each row.

    Backward   ĝ = g w.  Remove from it what lies along 1 and along x̂, the two directions that forward
               does not notice:   ∂L/∂x = (ĝ − mean(ĝ) − x̂ mean(ĝ x̂)) / σ
               w and b are shared by all rows:   ∂L/∂w = Σ g x̂,   ∂L/∂b = Σ g
    """

    forward = staticmethod(LayerNormFunction.forward)
    setup_context = staticmethod(LayerNormFunction.setup_context)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        x_hat, rstd = standardize(x, -1, ctx.eps)
        g = wide(grad_y)
        g_hat = g * weight
        grad_x = rstd * (
            g_hat - g_hat.mean(-1, keepdim=True) - x_hat * (g_hat * x_hat).mean(-1, keepdim=True)
        )
        grad_weight = (g * x_hat).sum(0)
        grad_bias = g.sum(0)
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


# %% tags=["choose"]
LayerNormBackward = lesson.choose(LayerNormFunction, LayerNormSolution, x, weight, bias, 1e-5)

# %% [markdown]
# ### Two mistakes, made on purpose
#
# **The statistics as constants.** This is what nearly everybody writes first: "we divide by $\sigma$, so the
# gradient is $\hat g/\sigma$". It forgets two of the three roads.


# %%
class WrongConstants(torch.autograd.Function):
    forward = staticmethod(LayerNormFunction.forward)
    setup_context = staticmethod(LayerNormFunction.setup_context)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        x_hat, rstd = standardize(x, -1, ctx.eps)
        g = wide(grad_y)
        grad_x = rstd * g * weight  # as if mean and σ did not depend on x
        return grad_x.to(x.dtype), (g * x_hat).sum(0).to(weight.dtype), g.sum(0).to(weight.dtype), None


check(WrongConstants, x, weight, bias, 1e-5)

# %% [markdown]
# `check` names `x`, and only `x`: the gradients of `weight` and `bias` are right. And it names the mistake:
# with mean and variance taken for constants, the true derivative becomes just what backward returned.
#
# **A leak over the batch.** The second mistake is one of axes. The means are taken over axis 0, the samples,
# instead of over each row. Shapes fit all the same, so nothing complains. But now the gradient of one image
# contains numbers of other images, which in layer norm have nothing to do with each other.


# %%
class WrongLeak(torch.autograd.Function):
    forward = staticmethod(LayerNormFunction.forward)
    setup_context = staticmethod(LayerNormFunction.setup_context)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        x_hat, rstd = standardize(x, -1, ctx.eps)
        g = wide(grad_y)
        g_hat = g * weight
        grad_x = rstd * (g_hat - g_hat.mean(0) - x_hat * (g_hat * x_hat).mean(0))  # axis 0: other samples
        return grad_x.to(x.dtype), (g * x_hat).sum(0).to(weight.dtype), g.sum(0).to(weight.dtype), None


check(WrongLeak, x, weight, bias, 1e-5)

# %% [markdown]
# The report calls it a leak across samples. You can find one yourself, without knowing the right answer: let
# only sample 0 count for the loss, and see whether the other samples get a gradient. They must not.

# %%
for function in (WrongLeak, LayerNormBackward):
    z = x.clone().requires_grad_()
    function.apply(z, weight, bias, 1e-5)[0].sum().backward()
    largest = z.grad.abs().amax(1)
    print(f"{function.__name__:18} largest gradient of each sample:", [f"{v:.3f}" for v in largest])

# %% [markdown]
# Make a mistake of your own: forget `keepdim=True`, return the gradients of `weight` and `bias` in the wrong
# order, leave out `rstd`. Run `check` each time, and see what it says. Without `keepdim=True` the means have
# shape (B), and torch lays them along the wrong axis: for B = 4 and N = 5 it refuses, and where B and N are
# equal it is a leak. Not every mistake has a name in the report. Where it finds none, look at which
# gradients are right, and at "expected" and "got": is their quotient the same in each row?
#
# ### Exercise 2: batch norm
#
# Now each *column* is standardized. There is a little more to it, because images have positions too: a batch
# of pictures with $C$ channels has shape $(B, C, H, W)$, and all $B \cdot H \cdot W$ numbers of a channel
# share a mean. So the axes to average over are all but axis 1. For a table $(B, C)$ that is axis 0 alone.
#
# `weight` and `bias` have shape $(C)$. `per_channel` gives them axes of length 1, so that they meet axis 1 of
# `x`.
#
# In batch norm, the samples *are* connected, and rightly: the mean is taken over them. So here the gradient
# of one sample does contain the others. What was a leak in layer norm is the formula in batch norm.


# %%
def axes_but_1(x):
    return [axis for axis in range(x.dim()) if axis != 1]


def per_channel(parameter, x):
    """(C) -> (C, 1, ..., 1), to be multiplied with x: (B, C, ...)."""
    return parameter.reshape(-1, *(1,) * (x.dim() - 2))


# %% tags=["exercise"]
class BatchNormFunction(torch.autograd.Function):
    """y = x̂ w + b, with x̂ = (x − mean)/σ over each channel.  x, y: (B, C, ...);  w, b: (C)."""

    @staticmethod
    def forward(x, weight, bias, eps):
        x_hat, _ = standardize(x, axes_but_1(x), eps)
        return (x_hat * per_channel(weight, x) + per_channel(bias, x)).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.eps = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        axes = axes_but_1(x)
        x_hat, rstd = standardize(x, axes, ctx.eps)
        g = wide(grad_y)
        # Your code, instead of the next two lines: gradients of x (B, C, ...), weight (C) and bias (C).
        grad_x = grad_weight = grad_bias = None
        raise NotImplementedError("grad_x = ?  grad_weight = ?  grad_bias = ?")
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


# %% tags=["check"]
pictures, weight, bias = torch.randn(4, 3, 2, 2), torch.randn(3), torch.randn(3)
check(BatchNormFunction, pictures, weight, bias, 1e-5)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Take your layer norm, and go through it axis by axis. Which sums and means run over each row there, and
# which over the batch? Here both run over the same axes.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `grad_weight` and `grad_bias` are `.sum(axes)` of the same things as before. For `grad_x`, use
# `g_hat = g * per_channel(weight, x)` and `.mean(axes, keepdim=True)`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class BatchNormSolution(torch.autograd.Function):
    """y = x̂ w + b, with x̂ = (x − mean)/σ over each channel.

    Backward   ∂L/∂x = (ĝ − mean(ĝ) − x̂ mean(ĝ x̂)) / σ   with ĝ = g w, as in layer norm; the means are
               those of the channel: over samples and positions
               ∂L/∂w = Σ g x̂,   ∂L/∂b = Σ g,   over the same axes
    """

    forward = staticmethod(BatchNormFunction.forward)
    setup_context = staticmethod(BatchNormFunction.setup_context)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        axes = axes_but_1(x)
        x_hat, rstd = standardize(x, axes, ctx.eps)
        g = wide(grad_y)
        g_hat = g * per_channel(weight, x)
        mean = g_hat.mean(axes, keepdim=True)
        grad_x = rstd * (g_hat - mean - x_hat * (g_hat * x_hat).mean(axes, keepdim=True))
        grad_weight = (g * x_hat).sum(axes)
        grad_bias = g.sum(axes)
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


# %% tags=["choose"]
BatchNormBackward = lesson.choose(BatchNormFunction, BatchNormSolution, pictures, weight, bias, 1e-5)

# %% [markdown]
# ### When there is no batch: running statistics
#
# Batch norm has a problem that layer norm has not. Once the network is trained, someone gives it *one* digit.
# Over a batch of one, the deviation from the mean is 0 and so is the output. And even with more digits, the
# answer for one should not depend on which others happen to come along.
#
# So batch norm keeps an account while it trains. After each batch, with a number $m$ such as 0.1,
#
# $$\text{running mean} \leftarrow (1 - m) \cdot \text{running mean} + m \cdot \text{mean of this batch},$$
#
# and the same for the variance. This is a moving average: a batch that lies 20 steps back counts with
# $0.1 \cdot 0.9^{20} \approx 0.012$. In training, the batch's own statistics are used (and differentiated).
# Afterwards, after `model.eval()`, the running ones are used. Those are constants. So there, and only there,
# the formula of `WrongConstants` is right.
#
# No gradient flows into the running statistics: they are no part of the loss. They are kept as *buffers*,
# saved with the model but not trained.
#
# ## On MNIST
#
# Here are the two layers as modules, made from your backwards.


# %%
class LayerNorm(nn.Module):
    def __init__(self, features, function=None):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.function = function or LayerNormBackward

    def forward(self, x):
        return self.function.apply(x, self.weight, self.bias, 1e-5)


# %%
class BatchNorm(nn.Module):
    def __init__(self, channels, momentum=0.1):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.momentum = momentum

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                var, mean = torch.var_mean(x, axes_but_1(x))  # var divides by N − 1, as torch's layer does
                self.running_mean.lerp_(mean, self.momentum)  # (1 − m) running + m batch
                self.running_var.lerp_(var, self.momentum)
            return BatchNormBackward.apply(x, self.weight, self.bias, 1e-5)
        scale = self.weight * torch.rsqrt(self.running_var + 1e-5)
        return (x - per_channel(self.running_mean, x)) * per_channel(scale, x) + per_channel(self.bias, x)


# %% [markdown]
# The network is the one from the beginning: eight hidden layers of 64 features with ReLU, and a linear layer
# to the ten digits. `start="he"` begins with the weights that He et al. (2015, arXiv:1502.01852) proposed for
# ReLU, which are larger than torch's own. We take 10 000 digits, go through them twice in batches of 64, and
# use plain gradient descent.


# %%
def network(norm=None, start="torch"):
    torch.manual_seed(0)
    layers, size = [nn.Flatten()], 784
    for _ in range(8):
        linear = nn.Linear(size, 64)
        if start == "he":
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
        layers += [linear, *([norm(64)] if norm else []), nn.ReLU()]
        size = 64
    return nn.Sequential(*layers, nn.Linear(64, 10))


kinds = {"no norm": None, "layer norm": LayerNorm, "batch norm": BatchNorm}
colours = {"no norm": lesson.RED, "layer norm": lesson.ORANGE, "batch norm": lesson.BLUE}
settings = [("torch", 0.1), ("he", 1.0)]

# %%
curves, right = {}, {}


def run(name, start, lr):
    """Train one, and keep its losses and its accuracy; what was done before is not done again."""
    key = name, start, lr
    if key not in curves:
        model = network(kinds[name], start)
        curves[key] = lesson.train(model, train_digits, epochs=2, lr=lr)
        right[key] = lesson.accuracy(model, test_digits)
    return right[key]


for start, lr in settings:
    for name in kinds:
        print(f"start {start:5}  lr {lr}  {name:10}  {run(name, start, lr):5.1f} % right")


# %%
def smooth(losses, window=15):
    return torch.tensor(losses).unfold(0, window, 1).mean(1)


figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
titles = ("torch's start, learning rate 0.1", "He's start, learning rate 1.0")
for axis, (start, lr), title in zip(axes, settings, titles):
    for name in kinds:
        axis.plot(smooth(curves[name, start, lr]), color=colours[name], label=name)
    axis.set(xlabel="step", title=title, ylim=(0, 4))
lost = torch.tensor(curves["no norm", "he", 1.0]).isfinite().sum().item()
axes[1].text(60, 3.4, f"no norm: not a number from step {lost} on", color=lesson.RED, fontsize=9)
axes[0].set_ylabel("loss, mean of 15 steps")
axes[0].legend()
plt.show()

# %% [markdown]
# On the left, the network without a norm does not learn at all. Its signal has faded, as in the first
# picture: the loss stays at $\ln 10 \approx 2.30$, that of guessing. On the right, the start is better, but
# the steps are too large: within a few steps the numbers overflow. Batch norm learns well in both. Layer norm
# learns well on the left and slowly on the right.
#
# To be fair, one should ask what happens at other learning rates. Perhaps a good start and a well chosen step
# are enough? The next cell tries five, all from He's start, which is the better one for the network without a
# norm.

# %%
rates = (0.01, 0.03, 0.1, 0.3, 1.0)
print("learning rate" + "".join(f"{lr:8}" for lr in rates))
for name in kinds:
    print(f"{name:13}" + "".join(f"{run(name, 'he', lr):7.1f}%" for lr in rates))

# %% [markdown]
# They nearly are. With He's start and a rate of 0.1, the plain network does well, and at the smallest rate it
# is clearly ahead. What a norm buys is *room*: with batch norm, any rate from 0.1 to 1.0 gives about the same
# result, the best of the table. You need not find the one rate that works. (This is one random start and 2000
# test digits, so a difference of one or two percent means nothing.)
#
# One more experiment, which is about you and not about norms. What if you had made the mistake from above,
# the statistics as constants, and never asked `check`?

# %%
for lr in (0.1, 0.3):
    model = network(lambda features: LayerNorm(features, WrongConstants), "he")
    lesson.train(model, train_digits, epochs=2, lr=lr)
    print(f"learning rate {lr}, wrong gradient: {lesson.accuracy(model, test_digits):.1f} % right")

# %% [markdown]
# Compare with the row of layer norm in the table: the wrong gradient learns too, only worse. You would have
# blamed the learning rate, or the depth. That a network trains is no proof that its gradient is right.
#
# ## What the library does
#
# The pages are `manualgrad/layers/normalization.py` and `manualgrad/layers/batchnorm.py`. Their formula is
# yours. Four things on them are worth a look.
#
# ### What is kept for backward
#
# Write the forward in plain torch operations, and autograd keeps what each of them needs: the deviations,
# $\hat x$, and more. Yours keeps `x`, the library `x` and two numbers for each row, $\mu$ and $1/\sigma$.
# Neither keeps $\hat x$: it is as large as `x`, and one subtraction and one multiplication bring it back. Let
# us count bytes.


# %%
from manualgrad.bench.measure import saved_bytes  # counts each piece of memory once

rows, w, b = (torch.randn(256, 1024), torch.ones(1024), torch.zeros(1024))
rows, w, b = rows.requires_grad_(), w.requires_grad_(), b.requires_grad_()
library = manualgrad.functional.layer_norm
print("x itself        ", rows.numel() * 4)
print("plain operations", saved_bytes(lambda: standardize(rows, -1, 1e-5)[0] * w + b, ()))
print("yours           ", saved_bytes(lambda: LayerNormBackward.apply(rows, w, b, 1e-5), ()))
print("the library     ", saved_bytes(lambda: library(rows, (1024,), w, b), ()))

# %% [markdown]
# Half as much as plain operations. The library's $2048 = 256 \cdot 2 \cdot 4$ bytes more than yours are $\mu$
# and $1/\sigma$ of each row: they save it from going through `x` two more times. But saved numbers are
# constants when backward is differentiated again. So the library looks whether it is:
#
# ```python
# if torch.is_grad_enabled():  # differentiated again: μ and r are functions of x, not constants
#     mean, rstd = standardize(x, axes, ctx.eps)
# ```
#
# ### The variance, in two passes
#
# There is a formula for the variance that needs one pass over the numbers instead of two:
# $v = \operatorname{mean}(x^2) - \operatorname{mean}(x)^2$. It is right on paper. In float32, which keeps
# about seven digits, it is not. If the mean is 10 000, both terms are near $10^8$, where neighbouring float32
# numbers are 8 apart. The variance, which is about 1, is lost when they are rounded, before one is taken from
# the other.

# %%
torch.manual_seed(0)
noise = torch.randn(1000)
print("mean      mean(x²) − mean(x)²   mean((x − mean)²)")
for offset in (0, 10, 100, 1000, 10_000):
    z = noise + offset
    one_pass = z.square().mean() - z.mean() ** 2
    two_passes = (z - z.mean()).square().mean()
    print(f"{offset:<9} {one_pass.item():<21.5f} {two_passes.item():.5f}")

# %% [markdown]
# In the last row, the first formula gives a negative variance, and the root of that is not a number.
# `standardize`, here and in the library, subtracts the mean first.
#
# ### Half precision
#
# Sixteen-bit numbers save memory, but the largest that `float16` has is 65504. The row (100, 400, 1000) is
# harmless, and so are its deviations from the mean, (−400, −100, 500). Two of their squares, 160000 and
# 250000, are too large.

# %%
half = torch.tensor([[100.0, 400.0, 1000.0]]).half()
deviation = half - half.mean(-1, keepdim=True)
print("squares in float16  ", deviation.square().tolist())
print("x̂ from these        ", (deviation * torch.rsqrt(deviation.square().mean(-1, keepdim=True))).tolist())
print("x̂ from the library  ", library(half, (3,)).tolist())

# %% [markdown]
# So squares, means and sums are taken in float32, and only the result is rounded: that was `wide`. Sums over
# a batch need it too, for another reason: to a large sum in half precision, a small number adds nothing.
#
# ### Speed
#
# Where Numba is installed, the library has a kernel for each of the two that does in one go over memory what
# the formula does in several. The kernel computes the same; the formula stays the reference that it is tested
# against. Batch norm has also a second Function, for `eval()`, where the statistics are constants and
# backward is just $g\, w/\sigma$.
#
# ## The question behind
#
# Why do norms help? This is less clear than it sounds.
#
# Batch norm was introduced with an explanation: each layer has to follow a moving target, as the layers
# before it change; the norm holds the target still (Ioffe and Szegedy, 2015, arXiv:1502.03167). It worked so
# well that the explanation was believed along with it. Three years later, noise was added after each batch
# norm, so that the target moved more than before. The networks trained as well as ever. What could be
# measured instead was that the loss becomes smoother: its gradient changes less from one step to the next, so
# larger steps are safe (Santurkar, Tsipras, Ilyas and Madry, 2018, arXiv:1805.11604). Your table, with its
# room for the learning rate, fits that.
#
# Layer norm was made for networks in which a batch is awkward, such as those that read a sequence (Ba, Kiros
# and Hinton, 2016, arXiv:1607.06450). Whether a norm is needed at all is still open. Deep networks can be
# trained without one, if the start is chosen with great care (Zhang, Dauphin and Ma, 2019, arXiv:1901.09321).
#
# ## What you know now
#
# - A statistic such as a mean depends on every element. So each input reaches each output by three roads:
#   directly, through the mean, through the spread.
# - The gradient of a norm is a projection: remove the share along $\mathbf 1$ and that along $\hat x$, divide
#   by $\sigma$. These are the directions that forward does not notice.
# - Layer norm and batch norm share the formula and differ in the axes. In layer norm samples must not mix; in
#   batch norm they do, and so it needs running statistics later.
# - A norm keeps signals from fading and gives room to the learning rate.
# - The variance is computed from deviations, and half precision is summed in float32.
#
# Two more exercises. **RMS norm** leaves out the mean:
# $\hat x = x/\sqrt{\operatorname{mean}(x^2) + \varepsilon}$. Which direction does it no longer ignore? Derive
# its backward, write it, and `check` it. **A linear layer before a batch norm**: multiply its weights by 10.
# What happens to the output of the norm, and what to the gradient of the weights? Guess from the geometry
# first, then measure.
#
# Next: [lesson 8](08_recurrence.ipynb), recurrence, where the same layer is used at every step.
