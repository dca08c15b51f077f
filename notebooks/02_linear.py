# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 2. Linear and broadcasting
#
# The linear layer multiplies a batch of inputs by a matrix of weights and adds a bias. Most weights of most
# networks are in such layers. At the end you can derive its three gradients with indices, check them by
# shapes, and say what the gradient of anything broadcast is. You will have trained a classifier of ten digits
# with a layer of your own, and seen its weights as pictures.
#
# Needs: [lesson 1](01_chain_rule.ipynb) (the chain rule, what a Function is, `check`), and the product of two
# matrices. Time: about 45 minutes.

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
import time

import lesson
import matplotlib.pyplot as plt
import torch
from torch import nn

from manualgrad import check
from manualgrad.functional import linear as library_linear
from manualgrad.layers.linear import LinearFunction as LibraryLinear

lesson.style()

# %% [markdown]
# ## The idea
#
# Take an input of $I$ numbers, its *features*: the pixels of a picture, for instance. A linear layer computes
# $O$ outputs from it. Each output weighs all features, with weights of its own, and adds a number of its own,
# the *bias*. The weights of output $o$ are a row of a matrix $W$, which so has the shape $(O, I)$. The biases
# are a vector $b$ of $O$ numbers.
#
# Inputs come in batches of $N$ samples, a sample in each row of a matrix $x$ of shape $(N, I)$. The outputs
# are a matrix $y$ of shape $(N, O)$:
#
# $$y_{no} = \sum_{i=1}^{I} x_{ni} W_{oi} + b_o, \qquad\text{in short}\qquad y = x W^\mathsf{T} + b .$$
#
# We let $n$ count samples, $i$ features of the input, and $o$ those of the output. $W^\mathsf{T}$ is the
# *transpose* of $W$: rows become columns, $W^\mathsf{T}_{io} = W_{oi}$. The short form has a catch.
# $x W^\mathsf{T}$ has the shape $(N, O)$ and $b$ has the shape $(O)$, so how can they be added? Torch, as
# NumPy, adds the same $b$ to each of the $N$ rows. This is *broadcasting*: what lacks an axis, or has the
# length 1 there, is repeated along it.
#
# The next cell draws it for $N = 5$, $I = 4$, $O = 3$. The grey rows of $b$ are the repeated ones. They are
# never in memory.


# %%
def draw(axis, *parts):
    """Draw matrices, given as (name, rows, columns, labels, colour, copied rows), and signs between them."""
    x = 0.0
    for part in parts:
        if isinstance(part, str):
            width = 1.0 + 0.5 * (len(part) > 1)
            axis.text(x + width / 2, 0, part, ha="center", va="center", fontsize=14)
            x += width
            continue
        name, rows, columns, shape, colour, copies = part
        for r in range(rows):
            for c in range(columns):
                face = "#dddddd" if copies and r > 0 else colour
                corner = (x + c, rows / 2 - r - 1)
                axis.add_patch(plt.Rectangle(corner, 1, 1, facecolor=face, edgecolor="white", alpha=0.75))
        axis.text(x + columns / 2, rows / 2 + 0.25, name, ha="center", va="bottom", fontsize=12)
        axis.text(x + columns / 2, -rows / 2 - 0.25, shape, ha="center", va="top", color=lesson.GREY)
        x += columns
    axis.set(xlim=(-0.3, x + 0.3), ylim=(-3.8, 3.8), aspect="equal")
    axis.axis("off")


figure, axis = plt.subplots(figsize=(7.5, 3.2))
draw(
    axis,
    ("$y$", 5, 3, "(N, O)", lesson.GREEN, False),
    "=",
    ("$x$", 5, 4, "(N, I)", lesson.BLUE, False),
    "×",
    ("$W^T$", 4, 3, "(I, O)", lesson.ORANGE, False),
    "+",
    ("$b$", 5, 3, "(O), for each n", lesson.RED, True),
)
plt.show()

# %% [markdown]
# Which weight is responsible? $W_{oi}$ stands between feature $i$ and output $o$. It is used once for each
# sample: $N$ times. By lesson 1, what is used several times is blamed by each use, and the blames add. The
# bias $b_o$ is used $N$ times as well. And $x_{ni}$ is used by all $O$ outputs. So there will be three sums,
# and the question is only which index each of them runs over.
#
# ## By hand
#
# Two samples, three features, two outputs:
#
# $$x = \begin{pmatrix} 1 & 2 & 0 \\ 0 & -1 & 3 \end{pmatrix}, \quad
# W = \begin{pmatrix} 1 & 0 & 2 \\ -1 & 1 & 0 \end{pmatrix}, \quad
# b = \begin{pmatrix} 1 & 0 \end{pmatrix} .$$
#
# **Forward.** The first output of the first sample weighs its features with the first row of $W$:
# $y_{11} = 1 \cdot 1 + 2 \cdot 0 + 0 \cdot 2 + 1 = 2$. Likewise the others:
#
# $$y = \begin{pmatrix} 2 & 1 \\ 7 & -1 \end{pmatrix} .$$
#
# **Backward.** Suppose the blame that arrives is $g_{no} = \partial L/\partial y_{no}$, with
#
# $$g = \begin{pmatrix} 1 & 2 \\ 0 & -1 \end{pmatrix} .$$
#
# - The weight $W_{22} = 1$, between feature 2 and output 2. In sample 1 it was multiplied by $x_{12} = 2$,
#   and output 2 of that sample is blamed with $g_{12} = 2$: that makes 4. In sample 2 it was multiplied by
#   $x_{22} = -1$, and the blame is $g_{22} = -1$: that makes 1. Together
#   $\partial L/\partial W_{22} = 4 + 1 = 5$.
# - The bias $b_2$ was added in both samples, with nothing to multiply it by:
#   $\partial L/\partial b_2 = 2 + (-1) = 1$.
# - The feature $x_{11} = 1$ went to output 1 with the weight $W_{11} = 1$, and to output 2 with
#   $W_{21} = -1$. So $\partial L/\partial x_{11} = 1 \cdot 1 + 2 \cdot (-1) = -1$.
#
# All of them, in the same way (do a few more):
#
# $$\frac{\partial L}{\partial x} = \begin{pmatrix} -1 & 2 & 2 \\ 1 & -1 & 0 \end{pmatrix}, \quad
# \frac{\partial L}{\partial W} = \begin{pmatrix} 1 & 2 & 0 \\ 2 & 5 & -3 \end{pmatrix}, \quad
# \frac{\partial L}{\partial b} = \begin{pmatrix} 1 & 1 \end{pmatrix} .$$
#
# The next cell confirms it: torch computes the same, by its own derivative. `y.backward(g)` starts the way
# back at $y$, with the blame $g$ instead of the 1 of a loss.

# %%
x = torch.tensor([[1.0, 2, 0], [0, -1, 3]], requires_grad=True)
W = torch.tensor([[1.0, 0, 2], [-1, 1, 0]], requires_grad=True)
b = torch.tensor([1.0, 0], requires_grad=True)
g = torch.tensor([[1.0, 2], [0, -1]])

y = x @ W.T + b  # @ is the product of matrices, .T the transpose
y.backward(g)
assert y.tolist() == [[2, 1], [7, -1]]
assert x.grad.tolist() == [[-1, 2, 2], [1, -1, 0]]
assert W.grad.tolist() == [[1, 2, 0], [2, 5, -3]]
assert b.grad.tolist() == [1, 1]
print("as by hand")

# %% [markdown]
# ## The derivation
#
# ### With indices
#
# The chain rule of lesson 1, for a node with many outputs: sum over all outputs, each with its blame. For a
# weight,
#
# $$\frac{\partial L}{\partial W_{oi}} = \sum_{n=1}^{N} \sum_{p=1}^{O} g_{np} \,
# \frac{\partial y_{np}}{\partial W_{oi}} .$$
#
# (The outputs are counted with $p$, for $o$ is taken: it says which weight we ask about.) Now look at
# $y_{np} = \sum_j x_{nj} W_{pj} + b_p$. The weight $W_{oi}$ occurs in it only if $p = o$, and then once,
# where $j = i$, multiplied by $x_{ni}$. So
#
# $$\frac{\partial y_{np}}{\partial W_{oi}} =
# \begin{cases} x_{ni} & \text{if } p = o \\ 0 & \text{else} \end{cases}
# \qquad\text{and}\qquad \frac{\partial L}{\partial W_{oi}} = \sum_{n=1}^{N} g_{no} \, x_{ni} .$$
#
# In the same way: $x_{ni}$ occurs in $y_{np}$ of its own sample for every $p$, multiplied by $W_{pi}$; $b_o$
# occurs in $y_{no}$ of every sample, multiplied by 1.
#
# $$\frac{\partial L}{\partial x_{ni}} = \sum_{o=1}^{O} g_{no} W_{oi}, \qquad
# \frac{\partial L}{\partial b_o} = \sum_{n=1}^{N} g_{no} .$$
#
# ### As matrices
#
# In a product of matrices, $(AB)_{rc} = \sum_k A_{rk} B_{kc}$, the index of the sum is the last one of the
# first factor and the first one of the second. Where an index stands on the wrong side, the matrix is
# transposed. In $\sum_o g_{no} W_{oi}$ all stand as they should. In $\sum_n g_{no} x_{ni}$, the $n$ is first
# in $g$, so $g$ must be transposed: $\sum_n g^\mathsf{T}_{on} x_{ni}$. Thus
#
# $$\frac{\partial L}{\partial x} = g \, W, \qquad
# \frac{\partial L}{\partial W} = g^\mathsf{T} x, \qquad
# \frac{\partial L}{\partial b} = \text{the sum of the rows of } g .$$
#
# ### Shapes as a guide
#
# A gradient has the shape of what it belongs to. This alone nearly gives the formulas.
# $\partial L/\partial W$ must be $(O, I)$, and is to be made of $g$, which is $(N, O)$, and $x$, which is
# $(N, I)$. There is one way to multiply them that fits: $(O, N) \times (N, I)$. The next cell draws all
# three.

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), width_ratios=[13, 14, 8.5])
figure.get_layout_engine().set(wspace=0.08)
green, blue, orange, red = lesson.GREEN, lesson.BLUE, lesson.ORANGE, lesson.RED
draw(
    axes[0],
    (r"$\partial L/\partial x$", 5, 4, "(N, I)", blue, False),
    "=",
    ("$g$", 5, 3, "(N, O)", green, False),
    "×",
    ("$W$", 3, 4, "(O, I)", orange, False),
)
draw(
    axes[1],
    (r"$\partial L/\partial W$", 3, 4, "(O, I)", orange, False),
    "=",
    ("$g^T$", 3, 5, "(O, N)", green, False),
    "×",
    ("$x$", 5, 4, "(N, I)", blue, False),
)
draw(
    axes[2],
    (r"$\partial L/\partial b$", 1, 3, "(O)", red, False),
    "= Σ",
    ("$g$", 5, 3, "(N, O)", green, False),
)
plt.show()

# %% [markdown]
# The guide fails where lengths are equal. If $W$ is square, $(\partial L/\partial W)^\mathsf{T}$ has the
# right shape, too. You will see this mistake below. So choose examples in which no two lengths agree.
#
# ### Broadcasting, in general
#
# The bias is a case of a rule. Let forward repeat a number $v$, so that
# $y_1 = v, \; y_2 = v, \; \dots, \; y_N = v$. Each copy is a use of $v$, with $\partial y_n/\partial v = 1$,
# so the blames add: $\partial L/\partial v = \sum_n g_n$. Hence:
#
# > **What is repeated forward is summed backward.**
#
# For tensors, compare the shapes from the last axis on, as broadcasting does. Sum $g$ over each axis that the
# input lacks, and over each one where it has the length 1 and the output has more; keep the latter as axes of
# length 1. For example:
#
# | shape of the input | shape of the output | its gradient is the sum of $g$ over |
# |---|---|---|
# | (3) | (5, 3) | axis 0 |
# | (5, 1) | (5, 3) | axis 1, kept with length 1 |
# | (1, 3) | (2, 5, 3) | axis 0, and axis 1, kept with length 1 |
# | () | (5, 3) | all axes |
#
# Torch has a method that does this: `g.sum_to_size(shape)`.
#
# The other way round it holds as well. A sum $s = \sum_n u_n$ has $\partial s/\partial u_n = 1$ for each $n$,
# so each summand gets the blame in full: *what is summed forward is repeated backward*. The next cell checks
# all four rows of the table, and the sum.

# %%
for shape, full in (((3,), (5, 3)), ((5, 1), (5, 3)), ((1, 3), (2, 5, 3)), ((), (5, 3))):
    v, g = torch.randn(shape, requires_grad=True), torch.randn(full)
    v.expand(full).backward(g)  # expand repeats v
    assert torch.equal(v.grad, g.sum_to_size(shape))
    print(f"{tuple(g.shape)!s:10} summed to {tuple(v.grad.shape)}")

u = torch.randn(4, requires_grad=True)
u.sum().backward(torch.tensor(2.5))
print("a sum, blamed with 2.5, hands on", u.grad.tolist())

# %% [markdown]
# ## Your turn
#
# ### Exercise 1: the linear layer
#
# Forward and setup_context are given. Write the three gradients, for `x` of shape (N, I).


# %% tags=["exercise"]
class LinearFunction(torch.autograd.Function):
    """y = x Wᵀ + b,   x: (N, I), weight: (O, I), bias: (O), y: (N, O)"""

    @staticmethod
    def forward(x, weight, bias):
        return x @ weight.T + bias

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias = inputs
        ctx.save_for_backward(x, weight)  # the bias is in no derivative

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        # Your code: three lines, a gradient for each input, in the order of forward's arguments.
        raise NotImplementedError("grad_x = ?  grad_weight = ?  grad_bias = ?")


# %% [markdown]
# We check with $N = 5$, $I = 4$, $O = 3$, no two lengths being equal. Until you have written it, the report
# says "not written".

# %% tags=["check"]
torch.manual_seed(0)
x, weight, bias = torch.randn(5, 4), torch.randn(3, 4), torch.randn(3)
check(LinearFunction, x, weight, bias)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `grad_y` is the $g$ of the derivation, with the shape (N, O). Write down the shapes of all that you have,
# and of the three that you need.
#
# </details>
# <details><summary>Hint 2</summary>
#
# $\partial L/\partial x = g W$ is a product of two matrices, as they are: `@`. For $\partial L/\partial W$,
# one of two is transposed: `.T`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The bias was repeated along axis 0, so its gradient is a sum along axis 0: `grad_y.sum(0)`. At the end:
# `return grad_x, grad_weight, grad_bias`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class LinearSolution(torch.autograd.Function):
    """An affine map of each row.

    Forward    y_no = Σ_i x_ni W_oi + b_o
    Backward   g = ∂L/∂y
               ∂L/∂x_ni = Σ_o g_no W_oi     ∂L/∂x = g W
               ∂L/∂W_oi = Σ_n g_no x_ni     ∂L/∂W = gᵀ x
               ∂L/∂b_o  = Σ_n g_no
    Shapes     x: (N, I);   W: (O, I);   b: (O);   y: (N, O)
    Saves      x and W
    """

    @staticmethod
    def forward(x, weight, bias):
        return x @ weight.T + bias

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        grad_x = grad_y @ weight
        grad_weight = grad_y.T @ x
        grad_bias = grad_y.sum(0)
        return grad_x, grad_weight, grad_bias


# %% tags=["choose"]
Linear = lesson.choose(LinearFunction, LinearSolution, x, weight, bias)

# %% [markdown]
# ### A mistake on purpose: the square matrix
#
# This one returns $(\partial L/\partial W)^\mathsf{T}$, and is checked with lengths that are all 4. Every
# shape fits. Torch would train with it and say nothing.


# %%
class WrongLinear(Linear):
    """As the linear layer, but the gradient of the weights is transposed."""

    @staticmethod
    def backward(ctx, grad_y):
        grad_x, grad_weight, grad_bias = Linear.backward(ctx, grad_y)
        return grad_x, grad_weight.T, grad_bias


torch.manual_seed(1)
check(WrongLinear, torch.randn(4, 4), torch.randn(4, 4), torch.randn(4))

# %% [markdown]
# Only `weight` is named: the other two gradients are right. Some elements are right even here, those on the
# diagonal, which a transpose leaves where they are: 12 of 16 are wrong. From the pattern of the others
# `check` recognizes the transpose; `dweight` is its name for $\partial L/\partial W$.
#
# With unequal lengths, torch itself rejects the shape, and the report begins with torch's message. Try it,
# with `x, weight, bias` from above. And try two more in your own backward. Return `grad_y` for the bias,
# without the sum: `gradient` stays "ok", as torch quietly sums what can be summed to the right shape. The row
# `dtypes and shapes` sees what you returned. Then take the mean in place of the sum.
#
# ### Exercise 2: scale and shift
#
# A layer that gives each feature a scale and a shift of its own: $y_{nf} = x_{nf} \, s_f + t_f$, with $x$ of
# shape $(N, F)$, and $s$ and $t$ of shape $(F)$. Normalization layers end with it. Here is a product, as in
# lesson 1, and a broadcasting.


# %% tags=["exercise"]
class ScaleShiftFunction(torch.autograd.Function):
    """y = x s + t,   x: (N, F), scale: (F), shift: (F), y: (N, F)"""

    @staticmethod
    def forward(x, scale, shift):
        return x * scale + shift

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, scale, shift = inputs
        ctx.save_for_backward(x, scale)

    @staticmethod
    def backward(ctx, grad_y):
        x, scale = ctx.saved_tensors
        # Your code: three gradients again. Which of them are sums, and along which axis?
        raise NotImplementedError("grad_x = ?  grad_scale = ?  grad_shift = ?")


# %% tags=["check"]
torch.manual_seed(2)
features, scale, shift = torch.randn(5, 3), torch.randn(3), torch.randn(3)
check(ScaleShiftFunction, features, scale, shift)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Imagine first that `scale` and `shift` had been repeated to (N, F) by somebody else. What are the three
# gradients of $y = x s + t$, element by element?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Now two of the three have the shape (N, F), but belong to something of shape (F). What is repeated forward
# is summed backward.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `grad_scale = (grad_y * x).sum(0)`: first the product, then the sum. The sum of products is not the product
# of sums.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class ScaleShiftSolution(torch.autograd.Function):
    """A scale and a shift for each feature, repeated for each sample.

    Forward    y_nf = x_nf s_f + t_f
    Backward   g = ∂L/∂y
               ∂L/∂x_nf = g_nf s_f     ∂L/∂s_f = Σ_n g_nf x_nf     ∂L/∂t_f = Σ_n g_nf
    Shapes     x, y: (N, F);   s, t: (F)
    Saves      x and s
    """

    @staticmethod
    def forward(x, scale, shift):
        return x * scale + shift

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, scale, shift = inputs
        ctx.save_for_backward(x, scale)

    @staticmethod
    def backward(ctx, grad_y):
        x, scale = ctx.saved_tensors
        grad_x = grad_y * scale
        grad_scale = (grad_y * x).sum(0)
        grad_shift = grad_y.sum(0)
        return grad_x, grad_scale, grad_shift


# %% tags=["choose"]
ScaleShift = lesson.choose(ScaleShiftFunction, ScaleShiftSolution, features, scale, shift)

# %% [markdown]
# ## On MNIST
#
# Ten digits, so ten outputs, the *scores*: the highest score is the answer. With one linear layer, from 784
# pixels to 10 scores, this is *softmax regression*, the simplest classifier there is. Its loss,
# `cross_entropy`, turns the ten scores into ten probabilities and returns minus the natural logarithm of that
# of the right digit: 0 if the network is sure and right, $\ln 10 = 2.3$ if it has no idea, and more if it is
# sure and wrong. We take it from torch here; [lesson 4](04_cross_entropy.ipynb) derives it.
#
# We make a *module* of your Function: torch's word for an object that holds weights (its *parameters*) and
# computes with them. `nn.Sequential` chains modules. `lesson.train` is the loop of lesson 1, forward, error,
# backward, update, with 64 digits at a time; it asks the module for all its parameters, goes through the data
# `epochs` times, and takes steps with the learning rate `lr`. The weights start at zero, so that what we see
# in them later has been learned.


# %%
class LinearLayer(nn.Module):
    """Your linear layer, with parameters that start at zero."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return Linear.apply(x, self.weight, self.bias)


train, test = lesson.digits(train=20_000, test=10_000)
layer = LinearLayer(784, 10)
model = nn.Sequential(nn.Flatten(), layer)  # Flatten: (N, 1, 28, 28) becomes (N, 784)
print(f"before: {lesson.accuracy(model, test):.1f} % of {len(test)} test digits")
losses = lesson.train(model, train, epochs=3, lr=0.02)
print(f"after:  {lesson.accuracy(model, test):.1f} %")

# %%
figure, axis = plt.subplots()
axis.plot(losses, color=lesson.BLUE, alpha=0.3, label="each step")
mean = torch.tensor(losses).unfold(0, 50, 1).mean(1)
axis.plot(range(25, 25 + len(mean)), mean, color=lesson.BLUE, label="mean of 50 steps")
axis.set(xlabel="step", ylabel="loss", ylim=(0, None), title="cross-entropy while training")
axis.legend()
plt.show()

# %% [markdown]
# Of a hundred digits it reads more than ninety, with one product of matrices. After a few hundred steps there
# is little more to gain: a weighted sum of pixels is not enough for the rest, and later lessons put something
# between.
#
# ### Which weight is responsible for which digit?
#
# The weights of output $o$ are row $o$ of $W$: 784 numbers, one for each pixel, so a picture. Blue weights
# say that ink there speaks for the digit; red, that it speaks against it.

# %%
weights = layer.weight.detach().reshape(10, 28, 28)
bound = weights.abs().max().item()
lesson.show_digits(weights, [str(k) for k in range(10)], cmap="RdBu", vmin=-bound, vmax=bound)

# %% [markdown]
# The 0 is easy to read: ink in the middle speaks against it, ink around for it. With the 1 it is the other
# way round, as in lesson 1. The even tint at the edge of some, such as the 5, is no shape: no digit has ink
# there, and as the background has the value −0.42 and not 0, these pixels act like a bias.
#
# For one digit we can go further, and ask which *pixel* is responsible. Take a test digit that the network
# reads wrongly, as $p$ instead of $r$. It is wrong because $y_p > y_r$, and the difference is a sum over the
# pixels,
#
# $$y_p - y_r = \sum_i x_i \, (W_{pi} - W_{ri}) + b_p - b_r .$$
#
# The next cell shows the summands as a picture, for the first three misread digits: what is green spoke for
# the wrong answer, what is pink for the right one.

# %%
with torch.no_grad():
    answers = model(test.images).argmax(1)
wrong = (answers != test.labels).nonzero().flatten()[:3].tolist()

figure, axes = plt.subplots(1, 6, figsize=(9, 1.9))
for k, number in enumerate(wrong):
    image, right, said = test.images[number, 0], test.labels[number].item(), answers[number].item()
    share = image * (weights[said] - weights[right])
    bound = share.abs().max().item()
    axes[2 * k].imshow(image)
    axes[2 * k].set_title(f"a {right}", fontsize=9)
    axes[2 * k + 1].imshow(share, cmap="PiYG", vmin=-bound, vmax=bound)
    axes[2 * k + 1].set_title(f"why it read {said}", fontsize=9)
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# ### With scale and shift in front
#
# Now we put your second layer before the first one: each pixel gets a scale and a shift, which are learned.


# %%
class ScaleShiftLayer(nn.Module):
    """Your scale and shift, which change nothing at first."""

    def __init__(self, features):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, x):
        return ScaleShift.apply(x, self.scale, self.shift)


scaling = ScaleShiftLayer(784)
both = nn.Sequential(nn.Flatten(), scaling, LinearLayer(784, 10))
lesson.train(both, train, epochs=3, lr=0.02)
print(
    f"{lesson.accuracy(both, test):.1f} %; scales from {scaling.scale.min():.2f} to {scaling.scale.max():.2f}"
)

# %% [markdown]
# It trains, with two layers of yours in it, but it does not read better. It cannot: a linear map of a linear
# map is linear. Put $s_i x_i + t_i$ in the place of $x_i$ in a score, where $s$ are the scales and $t$ the
# shifts:
#
# $$\sum_i (s_i x_i + t_i) \, W_{oi} + b_o
# = \sum_i x_i \, (s_i W_{oi}) + \Big(b_o + \sum_i t_i W_{oi}\Big) .$$
#
# That is one linear layer, with the weights $s_i W_{oi}$ and the bias in the large brackets. The next cell
# confirms it. What makes a deep network more than a single layer is what bends between them:
# [lesson 3](03_activations.ipynb).

# %%
last = both[2]
with torch.no_grad():
    merged = LinearLayer(784, 10)
    merged.weight.copy_(last.weight * scaling.scale)
    merged.bias.copy_(last.bias + last.weight @ scaling.shift)
    rows = test.images[:100].flatten(1)
    difference = (merged(rows) - both(rows)).abs().max().item()
assert difference < 1e-4
print("two layers as one, scores of 100 digits: the same")

# %% [markdown]
# ## What the library does
#
# `manualgrad/layers/linear.py` has the same three products, as you can read there:
#
#     g = rows(grad_y)
#     if ctx.needs_input_grad[0]:
#         grad_x = (g @ weight).reshape(*grad_y.shape[:-1], weight.shape[1])
#     if ctx.needs_input_grad[1]:
#         grad_weight = g.T @ rows(x)
#     if ctx.needs_input_grad[2]:
#         grad_bias = wide(g).sum_to_size(ctx.bias_shape).to(grad_y.dtype)
#
# There are four differences.
#
# ### Nothing for nobody
#
# `ctx.needs_input_grad` has a truth value for each argument of forward: does anybody need its gradient? The
# pictures that go into the first layer are no parameters. Your layer computes their gradient all the same,
# and torch throws it away. The library leaves it out, and it does not keep the weights then, either, for they
# serve nothing else. If, on the other hand, the weights are frozen, then it does not keep $x$. We measure
# what is kept, and the time of backward, for 1000 inputs of 784 features and 784 outputs.


# %%
from manualgrad.bench.measure import saved_bytes  # counts each piece of memory once


def backward_seconds(function, x, weight, bias):
    """The time of a backward, the shortest of five."""
    seconds = []
    for _ in range(5):
        y = function.apply(x, weight, bias)
        g = torch.ones_like(y)
        start = time.perf_counter()
        y.backward(g)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


x, weight, bias = torch.randn(1000, 784), torch.randn(784, 784), torch.randn(784)
for what, needs in (("x is data", (False, True, True)), ("weights are frozen", (True, False, False))):
    inputs = [t.detach().requires_grad_(need) for t, need in zip((x, weight, bias), needs)]
    for name, function in (("yours", Linear), ("library", LibraryLinear)):
        megabytes = saved_bytes(lambda: function.apply(*inputs), ()) / 1e6  # noqa: B023
        milliseconds = 1000 * backward_seconds(function, *inputs)
        print(f"{what:18}  {name:8} keeps {megabytes:.1f} MB, backward takes {milliseconds:.0f} ms")

# %% [markdown]
# In either case one large product of two remains, and the time is about halved.
#
# ### Any leading axes
#
# A text may come as $(N, T, I)$: $N$ sentences of $T$ words with $I$ features. The layer acts on the last
# axis, and all others count samples. The library's `rows` lays them out as one axis, and all is as before.
# Yours was written for matrices. Forward does take three axes, but backward does not: `.T` is for matrices,
# and `sum(0)` leaves an axis too many. What does `check` say?

# %%
torch.manual_seed(3)
x, weight, bias = torch.randn(2, 5, 4), torch.randn(3, 4), torch.randn(3)
print("the library's:", "passed" if check(LibraryLinear, x, weight, bias) else "FAILED")
print("yours:        ", "passed" if check(Linear, x, weight, bias) else "FAILED")

# %% [markdown]
# ### Sums in half precision
#
# To save memory and time, large networks compute with numbers of 16 bits. `torch.bfloat16` has 8 significant
# binary digits, so between 256 and 512 it knows only every second number. A long sum, such as that of the
# bias gradient over a large batch, comes to a halt there, if it is carried in bfloat16: $256 + 1 = 257$ is
# rounded to 256 again. `wide` takes the sum in float32, and rounds once, at the end. (The row
# `half precision` of `check` sees a sum that was not carried so, if the example is long enough for it; our
# five samples are not.)

# %%
g = torch.ones(1000, dtype=torch.bfloat16)  # the blame of 1000 samples for one bias
carried = torch.zeros((), dtype=torch.bfloat16)
for blame in g:
    carried = carried + blame
print("carried in bfloat16:", carried.item())
print("carried in float32: ", g.float().sum().bfloat16().item())

# %% [markdown]
# (`torch.sum` is careful here as well, and carries sums of half precision in float32. The library does not
# rely on it, since the sum may be split in several by a shape, a compiler or a device.)
#
# ### Autocast
#
# Under `torch.autocast`, torch computes products of matrices in bfloat16, while the parameters stay in
# float32. It does so in forward alone; backward is expected to follow the dtypes that forward had. Your
# Function keeps what it was given, float32, and so its backward is computed in float32: neither time nor
# memory is gained there. The library casts the inputs *before* they enter the Function. Then all that is kept
# is in bfloat16, too, and backward follows.

# %%
x, weight, bias = torch.randn(1000, 784), torch.randn(784, 784), torch.randn(784)
inputs = [t.requires_grad_() for t in (x, weight, bias)]
for name, function in (("yours", Linear.apply), ("library", library_linear), ("torch", nn.functional.linear)):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dtype = function(*inputs).dtype
        megabytes = saved_bytes(lambda: function(*inputs), ()) / 1e6  # noqa: B023
    print(f"{name:8} y is {dtype}, {megabytes:.1f} MB are kept")

# %% [markdown]
# ## The question behind
#
# $\partial L/\partial W = g^\mathsf{T} x$ is a sum of $N$ terms, one for each sample, and each term is a
# column times a row: a matrix of *rank* 1. The rank of a matrix is the number of rows that are left, if those
# that can be combined from others are dropped. So a gradient from $N$ samples has at most the rank $N$. For
# our ten digits:

# %%
for count in (1, 2, 4, 8, 16, 64):
    layer.weight.grad = None
    nn.functional.cross_entropy(model(train.images[:count]), train.labels[:count]).backward()
    rank = torch.linalg.matrix_rank(layer.weight.grad.double(), rtol=1e-5).item()
    print(f"{count:2} samples: a gradient of 10 rows, of rank {rank}")

# %% [markdown]
# (It ends at 9 and not at 10, since the blames of the ten scores of a digit sum to zero: probabilities that
# rise make others fall.)
#
# How much of a weight matrix does learning need to move? Surprisingly little, it seems, if a large network is
# to be adapted to a new task: changes of a rank of 1 to 8 suffice, where the matrices have thousands of rows
# (Hu and others 2021, "LoRA: low-rank adaptation of large language models", arXiv:2106.09685). Can a network
# be trained so from the beginning? Partly: gradients of large networks become nearly low in rank while they
# train, and can be kept in a compressed form (Zhao and others 2024, "GaLore: memory-efficient LLM training by
# gradient low-rank projection", arXiv:2403.03507). How far this goes, and why, is open.
#
# And linear layers in a chain, though they compute nothing more than one, *learn* differently from one, with
# plateaus and sudden steps as nonlinear networks do (Saxe, McClelland and Ganguli 2013, "Exact solutions to
# the nonlinear dynamics of learning in deep linear neural networks", arXiv:1312.6120).
#
# ## What you know now
#
# - For $y = x W^\mathsf{T} + b$ and $g = \partial L/\partial y$: $\partial L/\partial x = g W$,
#   $\partial L/\partial W = g^\mathsf{T} x$, and $\partial L/\partial b$ is the sum of the rows of $g$.
# - Shapes are a guide, unless lengths are equal. Check with lengths that differ.
# - What is repeated forward is summed backward, and what is summed forward is repeated backward.
# - The rows of a classifier's matrix are pictures of what speaks for each answer.
# - A good backward computes and keeps nothing that nobody asked for.
#
# Further exercises, without solution:
#
# 1. Let your linear layer take any leading axes, and use `ctx.needs_input_grad`. Check it with $x$ of shape
#    (2, 5, 4), as above.
# 2. Let scale and shift have any shapes that broadcast with $x$, such as (5, 1). `sum_to_size` helps.
# 3. Write the outer product, $y_{no} = u_n v_o$, from the shapes $(N)$ and $(O)$. Which sums are its
#    gradients?
#
# Next: [lesson 3](03_activations.ipynb), the functions that bend.
