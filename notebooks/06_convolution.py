# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 6. Convolution and pooling
#
# At the end you will know what a convolution computes, why its backward is again a convolution, with the
# kernel turned around, and how a maximum hands its gradient to the winner. With your own two layers you
# will train a network that reads more than 98.5 % of the test digits. Needs: lesson 5, and matrix products.
# Time: about 90 minutes.

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
import torch.nn.functional as F
from matplotlib.patches import ConnectionPatch, Rectangle
from torch import nn

import manualgrad
from manualgrad import check

lesson.style()
training, test = lesson.digits()

# %% [markdown]
# ## The idea
#
# In the network of lesson 5, each hidden neuron has a weight of its own for each of the 784 pixels. Move
# the digit one pixel to the right, and it meets other weights: what the network has learned about strokes
# here, it does not know there.
#
# A **convolution** has one small set of weights, the **kernel**, and uses it everywhere. A window as large
# as the kernel slides over the image. At each place the pixels in it are multiplied by the weights and
# added up, and the sum is one pixel of the output. So the output says, for each place, how much the image
# there looks like the kernel. Here is one that answers to left edges: dark to the left, bright to the
# right.


# %%
def draw_window(image, kernel, row, column):
    output = F.conv2d(image[None, None], kernel[None, None])[0, 0]
    size = len(kernel)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.5), width_ratios=(1, 0.42, 1))
    left.imshow(image)
    left.add_patch(Rectangle((column - 0.5, row - 0.5), size, size, fill=False, color=lesson.ORANGE, lw=2))
    left.set_title("image, 28 × 28, and the window")
    middle.imshow(kernel, cmap="coolwarm", vmin=-2, vmax=2)
    for i in range(size):
        for j in range(size):
            middle.text(j, i, f"{kernel[i, j]:g}", ha="center", va="center")
    middle.set_title("kernel, 3 × 3")
    right.imshow(output, cmap="coolwarm", vmin=-8, vmax=8)
    right.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, color="black", lw=2))
    right.set_title("output, 26 × 26: red is large")
    for axes in (left, middle, right):
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    arrow = {"arrowstyle": "-|>", "color": lesson.ORANGE, "lw": 1.5, "mutation_scale": 14}
    from_window, to_pixel = (column + size - 0.5, row + 1), (column - 0.6, row)
    for start, end, one, other in (
        (from_window, (-0.6, 1), left, middle),
        ((size - 0.4, 1), to_pixel, middle, right),
    ):
        line = ConnectionPatch(start, end, "data", "data", axesA=one, axesB=other, **arrow)
        line.set_annotation_clip(False)
        figure.add_artist(line)
    plt.show()


edge = torch.tensor([[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]])
draw_window(training.images[1, 0], edge, 16, 5)

# %% [markdown]
# Two things follow from using the same weights everywhere. There are few of them: nine here, where a linear
# layer between images of these sizes has 784 · 676 = 529,984. And if the image moves, the output moves with
# it, and is otherwise the same. This is called **equivariance**, and the next cell confirms it.

# %%
image = training.images[1:2]
moved = image.roll(2, dims=3)  # two pixels to the right; this digit has a margin
there = F.conv2d(moved, edge[None, None])
assert torch.equal(there[..., 2:], F.conv2d(image, edge[None, None])[..., :-2])
print("the output has moved along")

# %% [markdown]
# A real layer has several kernels, which makes several output images, called **channels**. And each kernel
# looks through all channels of its input at once.
#
# **Pooling** makes the images smaller: of each 2 × 2 square only the largest number is kept. It says
# "somewhere in this square there was such an edge", and forgets where exactly.
#
# ## By hand
#
# ### A convolution
#
# In one dimension everything is there already. Take $x = (1, 2, 0, -1, 3)$ and a kernel $w = (2, -1, 1)$.
# The window fits at three places:
#
# - $y_0 = 2 \cdot 1 - 1 \cdot 2 + 1 \cdot 0 = 0$
# - $y_1 = 2 \cdot 2 - 1 \cdot 0 + 1 \cdot (-1) = 3$
# - $y_2 = 2 \cdot 0 - 1 \cdot (-1) + 1 \cdot 3 = 4$
#
# Now back. Let the gradient that arrives be $g = \partial L/\partial y = (1, 2, -1)$. The picture has a
# line for each product above, with the colour of its weight. Read it upwards for forward. Read it downwards
# for backward.


# %%
def draw_lines(x, w, y, g):
    figure, axes = plt.subplots(figsize=(7.2, 3.3))
    colors = [lesson.BLUE, lesson.GREEN, lesson.RED]
    for o in range(len(y)):
        for k in range(len(w)):
            name = f"$w_{k} = {w[k]}$" if o == 0 else None
            axes.plot([o + k, o + 1], [0.12, 0.88], color=colors[k], lw=2, label=name)
        axes.text(o + 1, 1.07, f"$y_{o} = {y[o]}$", ha="center", size=12)
        axes.text(o + 1, 1.25, f"$g_{o} = {g[o]}$", ha="center", size=12, color=lesson.ORANGE)
    for i, value in enumerate(x):
        axes.text(i, -0.08, f"$x_{i} = {value}$", ha="center", va="center", size=12)
    axes.plot(range(5), [0.08] * 5, "ko", ms=5)
    axes.plot(range(1, 4), [0.92] * 3, "ko", ms=5)
    axes.set(xlim=(-0.5, 5.6), ylim=(-0.2, 1.4))
    axes.legend(loc="center right", frameon=False)
    axes.axis("off")
    plt.show()


draw_lines([1, 2, 0, -1, 3], [2, -1, 1], [0, 3, 4], [1, 2, -1])

# %% [markdown]
# **The weights.** $w_0$ is all blue lines at once. They start at $x_0, x_1, x_2$ and end at
# $y_0, y_1, y_2$. Each contributes what was multiplied by $w_0$, times the gradient at its upper end:
#
# - $\partial L/\partial w_0 = g_0 x_0 + g_1 x_1 + g_2 x_2 = 1 \cdot 1 + 2 \cdot 2 - 1 \cdot 0 = 5$
# - $\partial L/\partial w_1 = g_0 x_1 + g_1 x_2 + g_2 x_3 = 1 \cdot 2 + 2 \cdot 0 - 1 \cdot (-1) = 3$
# - $\partial L/\partial w_2 = g_0 x_2 + g_1 x_3 + g_2 x_4 = 1 \cdot 0 + 2 \cdot (-1) - 1 \cdot 3 = -5$
#
# Look at the pattern: a window with the numbers $g$ slides over $x$. The gradient of the kernel is a
# convolution of $x$ with $g$.
#
# **The input.** $x_2$ has three lines. It gets the sum of what comes down on them:
#
# - $\partial L/\partial x_0 = g_0 w_0 = 2$
# - $\partial L/\partial x_1 = g_0 w_1 + g_1 w_0 = -1 + 4 = 3$
# - $\partial L/\partial x_2 = g_0 w_2 + g_1 w_1 + g_2 w_0 = 1 - 2 - 2 = -3$
# - $\partial L/\partial x_3 = g_1 w_2 + g_2 w_1 = 2 + 1 = 3$
# - $\partial L/\partial x_4 = g_2 w_2 = -1$
#
# Again a pattern: where the index of $g$ goes up, that of $w$ goes down. It is a window with the kernel
# *turned around*, $(w_2, w_1, w_0) = (1, -1, 2)$, that slides over $g$. It starts where only one end of it
# touches $g$; beyond the ends of $g$ we write zeros: $(0, 0, 1, 2, -1, 0, 0)$. This is called the **full**
# convolution, because it takes every place where the two overlap.

# %%
x = torch.tensor([1.0, 2.0, 0.0, -1.0, 3.0], requires_grad=True)
w = torch.tensor([2.0, -1.0, 1.0], requires_grad=True)
g = torch.tensor([1.0, 2.0, -1.0])
y = x.unfold(0, 3, 1) @ w  # unfold: all windows, one in each row
grad_x, grad_w = torch.autograd.grad(y, (x, w), g)
assert y.tolist() == [0, 3, 4]
assert grad_w.tolist() == [5, 3, -5]
assert grad_x.tolist() == [2, 3, -3, 3, -1]
assert (F.pad(g, (2, 2)).unfold(0, 3, 1) @ w.flip(0)).tolist() == grad_x.tolist()
print("windows of x:", x.unfold(0, 3, 1).tolist())

# %% [markdown]
# ### A maximum
#
# Four numbers, and their maximum goes on: $y = \max(1, 7, 3, 2) = 7$. If the 7 grew by a little, $y$ would
# grow by as much. If the 3 did, nothing would happen to $y$. So with $g = \partial L/\partial y = 5$, the
# gradients of the four are $(0, 5, 0, 0)$. The winner takes all.
#
# And if two are equal, $\max(1, 7, 7, 2)$? If one of them grows, $y$ grows; if it shrinks, $y$ stays, as
# the other is still there. There is a kink, and no single right answer. $(0, 5, 0, 0)$ is one,
# $(0, 0, 5, 0)$ another, and so is $(0, 2.5, 2.5, 0)$. What is wrong is $(0, 5, 5, 0)$: if both grow by 1,
# $y$ grows by 1, not by 2. PyTorch gives all to the first of them, and we will, too.
#
# ## The derivation
#
# ### One dimension
#
# $x$ has $I$ numbers, the kernel $w$ has $K$, and the output $y$ has $O = I - K + 1$, as many as there are
# places for the window. All indices start at 0.
#
# $$y_o = \sum_{k=0}^{K-1} w_k\, x_{o+k}$$
#
# With $g_o = \partial L/\partial y_o$ and the chain rule, summed over all ways to the loss:
#
# **The kernel.** $w_k$ takes part in each $y_o$, with $\partial y_o/\partial w_k = x_{o+k}$. So
#
# $$\frac{\partial L}{\partial w_k} = \sum_{o=0}^{O-1} g_o\, x_{o+k}$$
#
# This is the first formula with $g$ in the place of $w$.
#
# **The input.** $x_i$ takes part in $y_o$ if $i = o + k$ for one of the $k$, that is $k = i - o$, and then
# $\partial y_o/\partial x_i = w_{i-o}$. We sum over $k$ instead of $o$ and put $o = i - k$:
#
# $$\frac{\partial L}{\partial x_i} = \sum_{k=0}^{K-1} w_k\, g_{i-k},
#   \qquad g_j = 0 \text{ outside of } 0 \le j < O$$
#
# Here the index of $g$ goes *down* while $k$ goes up. To make it a sliding window as before, count the
# kernel from its other end, $k = K - 1 - k'$, and put $K - 1$ zeros before and behind $g$, which makes
# $\tilde g_j = g_{j - (K - 1)}$. Then $g_{i - k} = g_{i + k' - (K-1)} = \tilde g_{i + k'}$, and
#
# $$\frac{\partial L}{\partial x_i} = \sum_{k'=0}^{K-1} w_{K-1-k'}\, \tilde g_{i+k'}$$
#
# A word on words. Mathematicians call the sum with $g_{i-k}$ a convolution, and the one with $x_{o+k}$ a
# cross-correlation. In this field the second is called convolution, and so do we. It does not matter much,
# as each is the backward of the other.
#
# ### Two dimensions and channels
#
# $x$ has the shape $(N, C, H, W)$: $N$ images of $C$ channels, $H$ high and $W$ wide. The weight $w$ has
# the shape $(A, C, K, L)$: for each of $A$ output channels a kernel for each input channel, $K$ high and
# $L$ wide. The bias $b$ has $A$ numbers. The output has the shape $(N, A, P, Q)$ with $P = H - K + 1$ and
# $Q = W - L + 1$.
#
# $$y_{napq} = b_a + \sum_{c,k,l} w_{ackl}\; x_{nc(p+k)(q+l)}$$
#
# One can repeat the steps above with more indices. But there is a way to be done at once. Take all the
# numbers in the window at place $(p, q)$, $CKL$ of them, and write them into one *column* of a matrix
# $U_n$. It has a column for each place, so its shape is $(CKL, PQ)$. Write the weights of output channel
# $a$ into *row* $a$ of a matrix $W$ with the shape $(A, CKL)$. Then the sum is a row times a column, and
# the convolution is a matrix product:
#
# $$Y_n = W\,U_n + b$$
#
# The product has the backward that you know from the linear layer. With $G_n = \partial L/\partial Y_n$, of
# shape $(A, PQ)$,
#
# $$\frac{\partial L}{\partial W} = \sum_n G_n U_n^\top, \qquad
#   \frac{\partial L}{\partial U_n} = W^\top G_n, \qquad
#   \frac{\partial L}{\partial b_a} = \sum_{n,p,q} G_{napq}$$
#
# What is left is the way from $x$ to $U$. It only copies: each pixel stands in $U$ as often as there are
# windows that contain it. The gradient of something that was copied is the sum of the gradients of its
# copies. So each number of $\partial L/\partial U_n$ goes back to where it was copied from, and there they
# are added. PyTorch calls the way there `F.unfold` and the way back `F.fold`.
#
# ### Maximum
#
# $y_o = x_{m(o)}$, where $m(o)$ is the place of the largest number in window $o$, the first among equals.
# While that place stays the same, $\partial y_o/\partial x_j$ is 1 for $j = m(o)$ and 0 for the others:
#
# $$\frac{\partial L}{\partial x_j} = \sum_{o:\; m(o) = j} g_o$$
#
# Squares of 2 × 2 that stand side by side do not overlap, so the sum has one term or none.
#
# ## Your turn
#
# Three exercises: the convolution in one dimension, in two dimensions with channels, and the maximum. Until
# you write a `backward`, the report says "not written", and the lesson goes on with the solution.
#
# ### Exercise 1: convolution in one dimension
#
# $N$ rows of numbers, one kernel. `x.unfold(1, K, 1)` gives all windows: element $[n, o, k]$ is $x_{n(o+k)}$.


# %% tags=["exercise"]
class Conv1dFunction(torch.autograd.Function):
    """y_no = Σ_k w_k x_n(o+k).   x: (N, I);   w: (K);   y: (N, I − K + 1)"""

    @staticmethod
    def forward(x, weight):
        return x.unfold(1, len(weight), 1) @ weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        # Your code: the gradient of x is the full convolution, with the kernel turned around.
        raise NotImplementedError("grad_x = ?  grad_weight = ?")


# %% tags=["check"]
torch.manual_seed(0)
x, weight = torch.randn(2, 7), torch.randn(3)
check(Conv1dFunction, x, weight)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For the input: `F.pad(grad_y, (K - 1, K - 1))` puts $K - 1$ zeros before and behind each row, and
# `weight.flip(0)` is the kernel turned around. What remains is `forward` once more. ($K$ is `len(weight)`.)
#
# You could also start from zeros and add into them, weight by weight: the way from the picture. The numbers
# are then right, but writing into a tensor is "not for vmap", as the report will say.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For the kernel: each of its numbers is a sum over all places and all rows. With all windows below one
# another, `x.unfold(1, K, 1).reshape(-1, K)`, and all of `grad_y` as one long vector, it is a matrix times
# a vector.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class Conv1dSolution(torch.autograd.Function):
    """A kernel that slides over rows.

    Forward    y_no = Σ_k w_k x_n(o+k)
    Backward   g = ∂L/∂y.   x_ni reaches y_no through k = i − o:
               ∂L/∂x_ni = Σ_k w_k g_n(i−k),   g = 0 outside
               ∂L/∂w_k  = Σ_{n,o} g_no x_n(o+k)
    """

    @staticmethod
    def forward(x, weight):
        return x.unfold(1, len(weight), 1) @ weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        taps = len(weight)
        padded = F.pad(grad_y, (taps - 1, taps - 1))
        grad_x = padded.unfold(1, taps, 1) @ weight.flip(0)
        grad_weight = x.unfold(1, taps, 1).reshape(-1, taps).T @ grad_y.reshape(-1)
        return grad_x, grad_weight


# %% tags=["choose"]
Conv1d = lesson.choose(Conv1dFunction, Conv1dSolution, x, weight)

# %% [markdown]
# ### A mistake on purpose
#
# The mistake of everyone's first convolution: the kernel is not turned around. With a symmetric kernel it
# would go unnoticed. With this one it does not.


# %%
class WrongConv1d(Conv1dSolution):
    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        taps = len(weight)
        padded = F.pad(grad_y, (taps - 1, taps - 1))
        grad_x = padded.unfold(1, taps, 1) @ weight  # not flipped
        grad_weight = x.unfold(1, taps, 1).reshape(-1, taps).T @ grad_y.reshape(-1)
        return grad_x, grad_weight


check(WrongConv1d, x, weight)

# %% [markdown]
# The gradient of the kernel is right. That of `x` has the right shape and about the right size, and is
# wrong; the report found that it would be right for the kernel reversed. Without it nothing would have
# raised an error, and a network might even have learned something. Try another mistake: pad `grad_y` with
# one zero more in front and one less behind, so that every gradient arrives one place beside. The report
# names the direction.
#
# ### Exercise 2: convolution in two dimensions
#
# Now images and channels, by the matrix product. `F.unfold(x, (K, L))` is $U$, for all images: its shape is
# $(N, CKL, PQ)$. Where `@` meets a matrix and a row of matrices, it multiplies each of them.


# %% tags=["exercise"]
class Conv2dFunction(torch.autograd.Function):
    """y_napq = b_a + Σ_ckl w_ackl x_nc(p+k)(q+l).   x: (N, C, H, W);   w: (A, C, K, L);   b: (A)"""

    @staticmethod
    def forward(x, weight, bias):
        channels, _, *window = weight.shape
        columns = F.unfold(x, window)  # (N, CKL, PQ)
        y = weight.reshape(channels, -1) @ columns + bias[:, None]  # (N, A, PQ)
        height, width = x.shape[2] - window[0] + 1, x.shape[3] - window[1] + 1
        return y.reshape(len(x), channels, height, width)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        channels, _, *window = weight.shape
        g = grad_y.reshape(len(grad_y), channels, -1)  # (N, A, PQ)
        # Your code. The images themselves, in the first layer, need no gradient:
        # compute grad_x only if ctx.needs_input_grad[0], and return None otherwise.
        raise NotImplementedError("grad_x = ?  grad_weight = ?  grad_bias = ?")


# %% tags=["check"]
torch.manual_seed(0)
x, weight, bias = torch.randn(2, 3, 4, 5), torch.randn(4, 3, 3, 2), torch.randn(4)
check(Conv2dFunction, x, weight, bias)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $\partial L/\partial W = \sum_n G_n U_n^\top$. Compute $U$ again by `F.unfold(x, window)`, turn its last
# two axes with `.transpose(1, 2)`, multiply, and sum over $n$. Then give it the shape of `weight`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# $\partial L/\partial U_n = W^\top G_n$ is `weight.reshape(channels, -1).T @ g`. Then
# `F.fold(..., x.shape[2:], window)` carries each number back to its pixel, and adds.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A bias stands at all places of all images. Over which axes of `g` does its gradient sum?
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class Conv2dSolution(torch.autograd.Function):
    """Kernels that slide over images, as a matrix product.

    Forward    U_n has in column pq what the window at (p, q) sees;   Y_n = W U_n + b
    Backward   G = ∂L/∂Y:   ∂L/∂W = Σ_n G_n U_nᵀ     ∂L/∂b_a = Σ_{n,p,q} G_napq
               ∂L/∂U_n = W^T G_n, and each number of it goes back to the pixel that it was copied from
    """

    @staticmethod
    def forward(x, weight, bias):
        channels, _, *window = weight.shape
        columns = F.unfold(x, window)
        y = weight.reshape(channels, -1) @ columns + bias[:, None]
        height, width = x.shape[2] - window[0] + 1, x.shape[3] - window[1] + 1
        return y.reshape(len(x), channels, height, width)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        channels, _, *window = weight.shape
        g = grad_y.reshape(len(grad_y), channels, -1)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = F.fold(weight.reshape(channels, -1).T @ g, x.shape[2:], window)
        grad_weight = (g @ F.unfold(x, window).transpose(1, 2)).sum(0).reshape(weight.shape)
        return grad_x, grad_weight, g.sum((0, 2))


# %% tags=["choose"]
ConvFunction = lesson.choose(Conv2dFunction, Conv2dSolution, x, weight, bias)

# %% [markdown]
# ### Exercise 3: the largest of four
#
# `corners` gives four images of half the size: all the upper left pixels of the 2 × 2 squares, all the
# upper right, lower left and lower right ones. `weave` puts four such images together again. With these two
# there is nothing to think about but the winner.


# %%
def corners(x):
    """The pixels of all 2 × 2 squares, by their place in the square: four tensors (N, C, H/2, W/2)."""
    return x[..., 0::2, 0::2], x[..., 0::2, 1::2], x[..., 1::2, 0::2], x[..., 1::2, 1::2]


def weave(upper_left, upper_right, lower_left, lower_right):
    """The image that has these corners: (N, C, H, W)."""
    *lead, height, width = upper_left.shape
    upper = torch.stack([upper_left, upper_right], -1)
    lower = torch.stack([lower_left, lower_right], -1)
    return torch.stack([upper, lower], -3).reshape(*lead, 2 * height, 2 * width)


picture = torch.arange(16.0).reshape(1, 1, 4, 4)
assert torch.equal(weave(*corners(picture)), picture)
print(picture[0, 0], *(corner[0, 0].tolist() for corner in corners(picture)), sep="\n")


# %% tags=["exercise"]
class MaxPoolFunction(torch.autograd.Function):
    """The largest number of each 2 × 2 square.   x: (N, C, H, W), H and W even;   y: (N, C, H/2, W/2)"""

    @staticmethod
    def forward(x):
        a, b, c, d = corners(x)
        return torch.maximum(torch.maximum(a, b), torch.maximum(c, d))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx, grad_y):
        x, y = ctx.saved_tensors
        # Your code: what does each corner get? Where several are the largest, the first of them gets all.
        raise NotImplementedError("weave(?, ?, ?, ?)")


# %% tags=["check"]
torch.manual_seed(0)
x = torch.randn(2, 3, 4, 6)
check(MaxPoolFunction, x)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Leave ties aside at first. A corner has won where it equals $y$: `a == y`. It gets `grad_y * (a == y)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For ties, go through the four corners in order, and keep in mind where the square has already been won:
# `free = torch.ones_like(y, dtype=torch.bool)` at first; a corner wins where it equals `y` *and* the square
# is free; and there it is not free any more.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class MaxPoolSolution(torch.autograd.Function):
    """The largest number of each 2 × 2 square.

    Forward    y_o = x_m(o),   m(o): the place of the largest in square o, the first among equals
    Backward   ∂L/∂x_j = g_o if j = m(o), else 0
    """

    @staticmethod
    def forward(x):
        a, b, c, d = corners(x)
        return torch.maximum(torch.maximum(a, b), torch.maximum(c, d))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx, grad_y):
        x, y = ctx.saved_tensors
        free = torch.ones_like(y, dtype=torch.bool)
        shares = []
        for corner in corners(x):
            wins = (corner == y) & free
            shares.append(grad_y * wins)
            free = free & ~wins
        return weave(*shares)


# %% tags=["choose"]
PoolFunction = lesson.choose(MaxPoolFunction, MaxPoolSolution, x)

# %% [markdown]
# Are ties worth a thought? Random numbers are never equal. Images are: where there is no ink, all windows
# look alike. The next cell counts the squares with a tie, behind a convolution of real digits, and compares
# the gradients at ties with PyTorch's.

# %%
torch.manual_seed(0)
seen = ConvFunction.apply(training.images[:200], torch.randn(8, 1, 5, 5), torch.zeros(8)).requires_grad_()
largest = PoolFunction.apply(seen)
winners = sum((corner == largest).long() for corner in corners(seen))
print(f"{100 * (winners > 1).double().mean().item():.0f} % of the squares have more than one winner")

g = torch.randn_like(largest)
mine = torch.autograd.grad(largest, seen, g)[0]
torchs = torch.autograd.grad(F.max_pool2d(seen, 2), seen, g)[0]
print("as PyTorch:", torch.equal(mine, torchs))

# %% [markdown]
# So to give the whole gradient to all winners would be no small mistake: the empty parts of the images
# would speak up to four times as loud as they should. At random numbers nobody would notice it. So `check`
# makes ties on purpose; you see the row in the report. Give `grad_y * (a == y)` to each corner, and see
# what it says.
#
# ## On MNIST
#
# The two Functions become layers. A kernel sums over $CKL$ numbers, and starts at random with variance
# $1/(CKL)$.


# %%
class Conv2d(nn.Module):
    def __init__(self, channels_in, channels_out, size):
        super().__init__()
        spread = (channels_in * size * size) ** -0.5
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, size, size) * spread)
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x):
        return ConvFunction.apply(x, self.weight, self.bias)


class MaxPool(nn.Module):
    def forward(self, x):
        return PoolFunction.apply(x)


# %% [markdown]
# The network: 8 kernels of 5 × 5 make 8 images of 24 × 24, and pooling makes them 12 × 12. 32 kernels of 8
# × 5 × 5 make 32 images of 8 × 8, and pooling makes them 4 × 4. That is 512 numbers, and a linear layer
# turns them into ten logits. ReLU stands behind the pooling: first the largest of four and then 0 if it is
# negative is the same as the other way round, and a quarter of the work. ReLU and Linear are the library's,
# whose backward is written by hand, too.
#
# The optimizer has momentum (see lesson 5), and for the last part of the way the learning rate is ten times
# smaller. It takes about a quarter of a minute on one core to go through 60,000 digits about once. Expect
# more than 98.5 %.

# %%
torch.manual_seed(0)
network = nn.Sequential(
    Conv2d(1, 8, 5), MaxPool(), manualgrad.nn.ReLU(),
    Conv2d(8, 32, 5), MaxPool(), manualgrad.nn.ReLU(),
    nn.Flatten(), manualgrad.nn.Linear(512, 10),
)  # fmt: skip
losses = lesson.train(network, training, epochs=0.8, lr=0.02, momentum=0.9, batch_size=50)
between = lesson.accuracy(network, test)
losses += lesson.train(network, training, epochs=0.3, lr=0.002, momentum=0.9, batch_size=50, seed=1)
accuracy = lesson.accuracy(network, test)
print(f"{between:.2f} % before the rate is made smaller, {accuracy:.2f} % after {len(losses)} steps")
print(f"{sum(p.numel() for p in network.parameters()):,} parameters")
assert accuracy >= 98.5, accuracy

# %%
smooth = torch.tensor(losses).unfold(0, 30, 1).mean(1)
figure, axes = plt.subplots(figsize=(7, 2.9))
axes.plot(losses, color=lesson.BLUE, alpha=0.25, lw=0.6, label="of one batch")
axes.plot(range(29, len(losses)), smooth, color=lesson.BLUE, label="mean of 30")
axes.axvline(960, color=lesson.GREY, ls=":")
axes.text(970, 2, "learning rate / 10", size=9, color=lesson.GREY)
axes.set(yscale="log", ylim=(3e-3, 4), xlabel="step", ylabel="loss", title="The loss while training")
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# The network of lesson 5 had 203,530 parameters. This one has 11,770, and reads the digits better. What did
# it learn? Above are the eight kernels of the first layer: red weights want ink, blue weights want none.
# Below is what each of them makes of one digit, before pooling.


# %%
def draw_kernels(network, image):
    weight = network[0].weight.detach()[:, 0]
    maps = network[0](image)[0].detach()
    figure, rows = plt.subplots(2, 8, figsize=(9, 2.7))
    for k in range(8):
        limit = weight[k].abs().max()
        rows[0, k].imshow(weight[k], cmap="coolwarm", vmin=-limit, vmax=limit)
        rows[0, k].set_title(f"kernel {k}", size=9)
        limit = maps[k].abs().max()
        rows[1, k].imshow(maps[k], cmap="coolwarm", vmin=-limit, vmax=limit)
        for axes in rows[:, k]:
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
    rows[0, 0].set_ylabel("weights")
    rows[1, 0].set_ylabel("output")
    plt.show()


draw_kernels(network, training.images[1:2])

# %% [markdown]
# Many have become detectors of edges or strokes in one direction, as you can see by which sides of the 0
# are red in their output: some answer to its outside, others to its inside, top or bottom. Nobody told
# them. It is what helps to tell digits apart.
#
# ## What the library does
#
# The page [`manualgrad/layers/conv.py`](../manualgrad/layers/conv.py) starts from one formula, of three
# tensors:
#
# $$\langle y, w, x \rangle = \sum_{n,a,b,o,k} y_{nao}\; w_{abk}\; x_{nb(so + dk - p)}$$
#
# The brackets stand for one number. $a$ and $b$ count the channels of the output and of the input; $o$ and
# $k$ are places in the output and in the kernel, with an index for each dimension. For $s = d = 1$ and
# $p = 0$ the index of $x$ is the $o + k$ that you know, and with $g$ in the place of $y$ the number is what
# the gradient makes of the whole output. It is linear in each of the three. Its derivative by $y$ is the
# convolution, by $w$ the gradient of the kernel, and by $x$ the gradient of the input. With the **stride**
# $s$ the window moves by $s$ pixels at a time, with the **dilation** $d$ its pixels stand $d$ apart, and with
# the **padding** $p$ there are $p$ rings of zeros around the image. **Groups** split the channels into parts
# that do not see each other. All of this changes only the index of $x$, so one derivation serves them all, in
# one, two and three dimensions.
#
# The derivative by $x$ has a name of its own as a layer, the **transposed convolution**. It makes small
# images larger, in networks that draw. You have written it: it is your `grad_x`.

# %%
torch.manual_seed(0)
x = torch.randn(2, 3, 9, 9, requires_grad=True)
weight, bias = torch.randn(4, 3, 5, 5), torch.zeros(4)
y = ConvFunction.apply(x, weight, bias)
g = torch.randn_like(y)
(grad_x,) = torch.autograd.grad(y, x, g)
difference = (grad_x - manualgrad.functional.conv_transpose2d(g, weight)).abs().max().item()
print(f"conv_transpose2d of g, and your grad_x: they differ by at most {difference:.0e}")
assert difference < 1e-4

# %% [markdown]
# Then, memory. In $U$ each pixel is written out once for each window that it is in: up to 25 times here, and
# 11 times on average, since those near the border are in fewer. That is the price of one big matrix product,
# which computers are very good at. The next cell measures the most that is held at a time, in forward and
# backward, for the second convolution of our network and a batch of 100. It also takes the time: the median
# of many steps, in turn.

# %%
from manualgrad.bench.measure import interleaved, peak_bytes

torch.manual_seed(0)
x = torch.randn(100, 8, 12, 12, requires_grad=True)
weight = torch.randn(32, 8, 5, 5, requires_grad=True)
bias = torch.randn(32, requires_grad=True)
g = torch.randn(100, 32, 8, 8)


def by_formula():
    with manualgrad.kernels("formula"):
        return manualgrad.functional.conv2d(x, weight, bias)


contenders = {
    "yours": lambda: ConvFunction.apply(x, weight, bias),
    "the library, formula": by_formula,
    "the library, kernel": lambda: manualgrad.functional.conv2d(x, weight, bias),
    "torch": lambda: F.conv2d(x, weight, bias),
}
steps = {
    name: lambda call=call: torch.autograd.grad(call(), (x, weight, bias), g)
    for name, call in contenders.items()
}
times = interleaved(steps, seconds=0.3)
for name, run in steps.items():
    print(f"{name:21} {peak_bytes(run) / 1e6:5.1f} MB at most, {1000 * times[name]:5.1f} ms a step")

# %% [markdown]
# For comparison, $x$ has 0.46 MB, $y$ has 0.82 MB and $U$ has 5.12 MB. The formula of the library writes
# out $U$ for the kernel's gradient only; for the other two it calls a convolution that does without. Its
# kernel, for which it needs Numba, does not write $U$ out at all. It leaves the sum to the same routine
# that torch uses, or, for kernels of 3 × 3 between many channels, computes it with Winograd's algorithm,
# which takes fewer products. That is in `manualgrad/kernels/cpu/_winograd.py`. Both of ours save $x$ for
# backward and not $U$: what can be computed again from something smaller need not be kept.
#
# And pooling: [`manualgrad/layers/pooling.py`](../manualgrad/layers/pooling.py) saves neither $x$ nor $y$.
# It saves who won, and scatters $g$ to the winners. That works for windows that overlap, too, where one
# pixel may win several times. Yours saves $x$ and $y$, and asks again who won.
#
# ## The question behind
#
# Fukushima (1980, *Biological Cybernetics* 36, doi:10.1007/BF00344251) built a network of such layers after
# what was known of the visual cortex, and had no backpropagation to train it. LeCun and others (1989,
# *Neural Computation* 1, doi:10.1162/neco.1989.1.4.541) trained one, on handwritten digits of postal codes.
#
# The question is how much one should build in. A convolution knows beforehand that a stroke is a stroke
# wherever it is. A linear layer could learn that from examples, if there are enough. Let us see what each
# of the two knows about digits that have moved. The MNIST digits stand in the centre. We train the network
# of lesson 5 on the same digits, then move the test digits to the right, pixel by pixel.

# %%
torch.manual_seed(0)
dense = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
lesson.train(dense, training, epochs=2, lr=0.2, batch_size=100)


def shifted(data, pixels):
    """The digits, moved to the right; what comes in from the left is background."""
    padded = F.pad(data.images, (pixels, 0, 0, 0), value=data.images.min().item())
    return lesson.Digits(padded[..., :28], data.labels)


some = lesson.Digits(test.images[:2000], test.labels[:2000])
moves = range(9)
convolved = [lesson.accuracy(network, shifted(some, k)) for k in moves]
flat = [lesson.accuracy(dense, shifted(some, k)) for k in moves]
for k in (0, 2, 4):
    print(f"moved by {k}: convolutions {convolved[k]:.1f} %, linear layers {flat[k]:.1f} %")

# %%
figure, axes = plt.subplots(figsize=(6.4, 3))
axes.plot(moves, convolved, "o-", color=lesson.BLUE, label="convolution and pooling")
axes.plot(moves, flat, "o-", color=lesson.ORANGE, label="linear layers")
axes.axhline(10, color=lesson.GREY, ls=":")
axes.text(8, 12, "guessing", ha="right", size=9, color=lesson.GREY)
axes.set(xlabel="test digits moved by so many pixels", ylabel="accuracy in %", ylim=(0, 103))
axes.legend()
plt.show()

# %% [markdown]
# Convolutions stand it better, but far from perfectly. They are equivariant, while pooling is so only for
# moves by 2, 4, ... pixels, and the linear layer at the end has a weight for each place again. Zhang (2019,
# arXiv:1904.11486) studied why networks with pooling change their mind when an image moves by one pixel,
# and how to mend it. And Dosovitskiy and others (2020, arXiv:2010.11929) did without convolutions: with very
# many images, a network of attention (lesson 9) learns as well or better what they had built in. When to
# build knowledge in and when to leave it to the data is an open question, and not only for images.
#
# ## What you know now
#
# - A convolution uses one small set of weights at all places. If the image moves, the output moves along.
# - The gradient of the kernel is a convolution of the input with $g$: a weight that is used everywhere sums
#   over everywhere.
# - The gradient of the input is the full convolution of $g$ with the kernel turned around. As a layer of
#   its own it is called transposed convolution.
# - Written out in columns, a convolution is a matrix product, and its backward that of the linear layer.
#   What was copied gets the sum of its copies' gradients.
# - A maximum hands its gradient to the winner. Among equals there must be one winner, or shares that sum to
#   one.
#
# Two more exercises, without solution:
#
# 1. Give Exercise 1 a stride: $y_o = \sum_k w_k x_{so+k}$. Where do the gradients go? (Put $s - 1$ zeros
#    between the numbers of $g$.) Let `check` judge it for $s = 2$, with a length that $s$ does not divide.
# 2. Average pooling: each of the four gets a quarter of $g$. Write the Function, put it into the network in
#    the place of the maximum, and compare the accuracy.
#
# Next: [lesson 7](07_normalization.ipynb), normalization, whose backward looks at the whole batch.
