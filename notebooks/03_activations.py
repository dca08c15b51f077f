# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 3. Activations: gradients that vanish, explode or arrive
#
# At the end you will know how a gradient passes through tanh, sigmoid and ReLU, why the output alone is
# enough to compute it, and what a long row of such layers does to it: why the first layers of a deep network
# may learn nothing, why others blow up, and which random weights avoid both. Needs: [lesson
# 1](01_chain_rule.ipynb) and [lesson 2](02_linear.ipynb), and the derivatives of $e^x$ and of $1/d(x)$. Time:
# about 50 minutes.

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
import itertools
import math

import lesson
import matplotlib.pyplot as plt
import torch
from torch import nn

import manualgrad
from manualgrad import check

torch.manual_seed(0)
lesson.style()
# %% [markdown]
# ## The idea
#
# Two linear layers in a row are one linear layer: $W_2(W_1 x)$ is $(W_2 W_1)\,x$. So between linear layers
# stands a function that is not linear, applied to each number on its own. It is called the **activation**.
# What computes one of the numbers, a weighted sum with its activation, is called a **neuron**. The three that
# everybody meets first:
#
# - the **sigmoid** $\sigma(x) = 1/(1 + e^{-x})$, from 0 to 1;
# - the hyperbolic tangent **tanh** $x = (e^x - e^{-x})/(e^x + e^{-x})$, from −1 to 1;
# - **ReLU** (rectified linear unit) $\max(x, 0)$: negative numbers become 0, the others stay.
#
# What counts on the way back is the slope, drawn in orange.

# %%
x = torch.linspace(-5, 5, 401)
curves = {
    "sigmoid": (torch.sigmoid(x), torch.sigmoid(x) * torch.sigmoid(-x)),
    "tanh": (torch.tanh(x), 1 / torch.cosh(x) ** 2),
    "ReLU": (x.clamp(min=0), (x > 0).float()),
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for axis, (name, (y, slope)) in zip(axes, curves.items()):
    axis.plot(x, y, color=lesson.BLUE, label="the function")
    axis.plot(x, slope, color=lesson.ORANGE, label="its slope")
    axis.set(title=f"{name}: slope at most {slope.max():.2g}", xlabel="x", ylim=(-1.15, 2))
    axis.set_xticks([-4, -2, 0, 2, 4])
axes[0].legend(loc="upper left")
plt.show()

# %% [markdown]
# The sigmoid is nowhere steeper than 1/4. Tanh reaches slope 1, but only at zero. Both are flat on the
# outside: a neuron there is called **saturated**, and nearly nothing comes back through it. ReLU has slope 1
# or slope 0 and nothing between.
#
# Now the second half of the idea. The chain rule *multiplies*: a gradient that passes thirty layers is
# multiplied thirty times. Suppose every layer multiplies its size by the same number $c$.

# %%
depth = torch.arange(31)
rates = [1.5, 1.2, 1.0, 0.8, 0.5, 0.25]
colours = [lesson.RED, lesson.ORANGE, lesson.GREY, lesson.GREEN, lesson.BLUE, "black"]
figure, axis = plt.subplots(figsize=(6.4, 3.4))
for c, colour in zip(rates, colours):
    axis.semilogy(depth, c**depth, color=colour)
    axis.text(30.5, c**30, f"c = {c:g}", color=colour, va="center")
axis.set(xlabel="layers that the gradient has passed", ylabel="what is left of it", xlim=(0, 35))
axis.set_title("A factor per layer: $c^n$, on a logarithmic axis")
plt.show()

# %% [markdown]
# Each is a straight line, since the axis is logarithmic. With $c = 0.5$ a billionth is left after thirty
# layers: the gradient **vanishes**. With $c = 1.5$ it has grown 190,000 times: it **explodes**. Only near
# $c = 1$ does it arrive. This lesson finds out what $c$ is made of: the slope of the activation and the size
# of the weights.

# %% [markdown]
# ## By hand
#
# ### The slope from the output
#
# A sigmoid has put out $y = 0.8$. What was its slope there? Below we derive that it is $y(1 - y)$, so
#
# $$0.8 \cdot 0.2 = 0.16 .$$
#
# We did not need to know the input. (It was $x = \ln 4 \approx 1.386$, because $e^{-\ln 4} = 1/4$ and
# $1/(1 + 1/4) = 0.8$.) If the gradient that arrives from above is $g = -3$, then $-3 \cdot 0.16 = -0.48$ goes
# on.
#
# ### Three sigmoids in a row
#
# Start with 0, and apply the sigmoid three times: $y_1 = \sigma(0) = 0.5$, then $y_2 = \sigma(0.5) = 0.6225$,
# then $y_3 = \sigma(0.6225) = 0.6508$. The slopes are
#
# | layer | output $y$ | slope $y(1-y)$ |
# |---|---|---|
# | 1 | 0.5000 | 0.2500 |
# | 2 | 0.6225 | 0.2350 |
# | 3 | 0.6508 | 0.2273 |
#
# and the chain rule multiplies them: $0.2500 \cdot 0.2350 \cdot 0.2273 = 0.01335$. After three layers a bit
# more than one hundredth is left. No slope exceeds 1/4, so after $n$ layers at most $0.25^n$ is left; for
# $n = 20$ that is $9 \cdot 10^{-13}$.
#
# ### Can weights help?
#
# Put a weight $w = 4$ before each sigmoid, $y_l = \sigma(w\,y_{l-1})$. Then each factor is $w \cdot y(1-y)$,
# and $4 \cdot 1/4 = 1$: healed? Start with 0 again. The first factor is indeed $4 \cdot 0.25 = 1$. But then
# $y_2 = \sigma(4 \cdot 0.5) = \sigma(2) = 0.8808$ is saturated: the factor is
# $4 \cdot 0.8808 \cdot 0.1192 = 0.42$. And $y_3 = \sigma(4 \cdot 0.8808) = 0.9713$ has
# $4 \cdot 0.9713 \cdot 0.0287 = 0.1115$. Together, $1 \cdot 0.42 \cdot 0.1115 = 0.047$ is left. Larger
# weights drive the sigmoid to where it is flat.
#
# ReLU is different. Where it is on, its slope is 1 whatever the number, so the factor is just $w$.
#
# The next cell confirms these numbers with autograd.

# %%
assert abs(torch.sigmoid(torch.tensor(math.log(4))).item() - 0.8) < 1e-6

for weight, expected in ((1.0, 0.01335), (4.0, 1.0 * 0.42 * 0.111)):
    start = torch.zeros((), requires_grad=True)
    y = start
    for _ in range(3):
        y = torch.sigmoid(weight * y)
    y.backward()
    print(f"weight {weight:g}: three layers multiply the gradient by {start.grad.item():.5f}")
    assert abs(start.grad.item() - expected) < 1e-3

# %% [markdown]
# ## The derivation
#
# ### One number
#
# Let $x_1, x_2, \dots$ be the numbers that enter the activation $f$ (the elements of a tensor of any shape),
# and $y_i = f(x_i)$ what leaves it. $L$ is the loss. From above comes
#
# $$g_i = \frac{\partial L}{\partial y_i} ,$$
#
# called `grad_y` in the code; we look for $\partial L/\partial x_i$. The number $x_i$ moves $y_i$ and no
# other output. So the chain rule has a single term:
#
# $$\frac{\partial L}{\partial x_i} = g_i \, f'(x_i) .$$
#
# That is the whole backward of every activation of this kind: multiply by the slope, element by element. $f'$
# is taken **at the input** $x_i$. Remember this; the mistake is soon made.
#
# ### Sigmoid
#
# Write $y = 1/d$ with $d = 1 + e^{-x}$. Then $d' = -e^{-x}$, and the derivative of $1/d$ is $-d'/d^2$:
#
# $$\sigma'(x) = \frac{e^{-x}}{(1 + e^{-x})^2} = \frac{1}{1 + e^{-x}} \cdot \frac{e^{-x}}{1 + e^{-x}} .$$
#
# The first factor is $y$. The second is $\frac{(1 + e^{-x}) - 1}{1 + e^{-x}} = 1 - y$. Hence
#
# $$\sigma'(x) = y\,(1 - y) .$$
#
# The product of two numbers that add up to 1 is largest when they are equal: the slope is at most
# $\frac12 \cdot \frac12 = \frac14$, at $x = 0$.
#
# ### Tanh
#
# Lesson 1 has found $\tanh' = 1 - y^2$ in the same way. The two are relatives: multiply numerator and
# denominator of tanh by $e^{-x}$, and you see that
#
# $$\tanh x = \frac{1 - e^{-2x}}{1 + e^{-2x}} = \frac{2 - (1 + e^{-2x})}{1 + e^{-2x}} = 2\,\sigma(2x) - 1 .$$
#
# A tanh is a sigmoid that is half as wide, twice as high (so four times as steep: 1 instead of 1/4) and
# shifted down by 1. We shall use this.
#
# ### ReLU, and a kink
#
# $f(x) = \max(x, 0)$ has slope 1 for $x > 0$ and slope 0 for $x < 0$. At $x = 0$ there is a **kink**: from
# the right the slope is 1, from the left it is 0, and there is no derivative. One simply takes one of them;
# PyTorch takes 0. Any number between the two slopes, 0 to 1, would be a legitimate choice. It is called a
# *subgradient*.
#
# Is it enough to know $y$ here? Yes: $y > 0$ happens exactly when $x > 0$.
#
# The **leaky ReLU** lets a part $a$ of the negative numbers through, for example $a = 0.1$: $f(x) = x$ for
# $x > 0$, else $a\,x$. Its slopes are 1 and $a$. It is your second exercise. For $a = 0$ it is ReLU.
#
# ### Why the output
#
# Backward runs long after forward, so forward has to keep what backward needs. If the activation keeps its
# input $x$, a tensor stays in memory that nobody else wants. Its output $y$ stays anyway: it is the input of
# the next linear layer, which needs it for the gradient of its weights (lesson 2). So keeping $y$ costs
# nothing. We measure this below.
#
# ### Many layers, many neurons
#
# Layer $l$ of the network has $n$ neurons and computes $z = W h_{l-1}$ and $h_l = f(z)$, element by element.
# Here $h_{l-1}$ are the $n$ outputs of the layer before, for one sample, written as a column, and $W$ is an
# $n \times n$ matrix of weights $w_{ij}$. Let $g_i$ be the gradient of element $i$ of $h_l$. By the rule for
# one number, the gradient of $z_i$ is $f'(z_i)\,g_i$. By lesson 2, where samples are rows, the gradient of
# $h_{l-1}$ is that, times the matrix; we call it $\bar g$. Element $j$ of it is
#
# $$\bar g_j = \sum_{i=1}^{n} w_{ij} \, f'(z_i) \, g_i .$$
#
# How large is $\bar g$? Let the weights be random and independent, with mean 0 and mean square $s^2$ (so $s$
# is their standard deviation). Square the sum. The mixed terms contain $w_{ij} w_{kj}$ with $i \ne k$, and
# average to 0. What remains is
#
# $$\text{mean of } \bar g_j^2 = s^2 \sum_{i=1}^{n} f'(z_i)^2 g_i^2 \;\approx\; s^2 m \sum_{i=1}^{n} g_i^2 ,$$
#
# with $m$ for the mean of $f'(z)^2$ over the neurons. There are $n$ such $\bar g_j$. Summing over $j$:
#
# $$\lVert \bar g \rVert^2 \approx n s^2 m \,\lVert g \rVert^2 , \qquad\text{so}\qquad c = \sqrt{n s^2 m} .$$
#
# ($\lVert g \rVert$ is the length of the vector $g$. The steps assume that weights, slopes and gradients do
# not depend on each other, which is only nearly true; the measurement below will tell.) To have $c = 1$ we
# need $s^2 = 1/(n\,m)$:
#
# - **ReLU.** About half of the $z$ are positive, there $f'^2 = 1$, elsewhere 0. So $m = \frac12$ and
#   $s^2 = 2/n$. This is **He's** choice.
# - **Tanh**, near zero: $f' \approx 1$, so $m \approx 1$ and $s^2 = 1/n$. This is **Xavier** Glorot's choice,
#   for layers that are as wide as the one before.
# - **Sigmoid.** $f' \le \frac14$, so $m \le \frac1{16}$. With $s^2 = 1/n$ we have $c \le \frac14$. Weights
#   four times larger would saturate it, as we saw by hand.

# %% [markdown]
# ## Your turn
#
# ### Exercise 1: the sigmoid from its output
#
# Complete `backward`. Only the output $y$ was saved. Run the cell, then the next one, which checks your
# backward. As long as nothing is written, the report says "not written".


# %% tags=["exercise"]
class SigmoidFunction(torch.autograd.Function):
    """y = 1 / (1 + e⁻ˣ), for every element of x."""

    @staticmethod
    def forward(x):
        return torch.sigmoid(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)  # y, not x

    @staticmethod
    def backward(ctx, grad_y):
        (y,) = ctx.saved_tensors
        # Your code: one line, the gradient of x. Do not compute a sigmoid again.
        raise NotImplementedError("grad_x = ?")


# %% tags=["check"]
points = 2 * torch.randn(3, 4)
check(SigmoidFunction, points)

# %% [markdown]
# <details><summary>Hint 1: the rule for every activation</summary>
#
# $\partial L/\partial x_i = g_i\,f'(x_i)$: what arrives from above, times the slope, element by element. What
# arrives from above is `grad_y`.
#
# </details>
#
# <details><summary>Hint 2: the slope</summary>
#
# By hand we had $y = 0.8$ and the slope $0.16$. No $x$ was needed, and no exponential.
#
# </details>
#
# <details><summary>Hint 3: in torch</summary>
#
# `*` multiplies tensors element by element, and `1 - y` subtracts each element from 1. Do not write into
# `grad_y` (no `*=`): others may still need it.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class SigmoidSolution(torch.autograd.Function):
    """Forward    y = 1 / (1 + e⁻ˣ)
    Backward   f′ = e⁻ˣ / (1 + e⁻ˣ)² = y (1 − y)
    Saves      y
    """

    @staticmethod
    def forward(x):
        return torch.sigmoid(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y):
        (y,) = ctx.saved_tensors
        grad_x = grad_y * (y * (1 - y))
        return grad_x


# %% tags=["choose"]
MySigmoid = lesson.choose(SigmoidFunction, SigmoidSolution, points)

# %% [markdown]
# ### A mistake to look at
#
# The slope has to be taken at the input. Somebody knows that $\sigma'(x) = \sigma(x)\,(1 - \sigma(x))$,
# applies it to the tensor that was saved, and so computes $\sigma(y)\,(1 - \sigma(y))$: the slope **at the
# output**. (The reverse is as common: to save $x$ and to compute $x(1 - x)$.) See what the report says.


# %%
class WrongSigmoid(SigmoidSolution):
    @staticmethod
    def backward(ctx, grad_y):
        (y,) = ctx.saved_tensors
        return grad_y * torch.sigmoid(y) * (1 - torch.sigmoid(y))  # y is a sigmoid already


check(WrongSigmoid, points)

# %% [markdown]
# The report says where the derivative is taken, and what belongs there. (`double gradient` fails as well:
# this backward is computed from $y$, and to differentiate $y$ is to use the wrong slope once more. Mend the
# row `gradient` first.)
#
# The output lies between 0 and 1, and there the sigmoid's slope is between 0.197 and 0.25. So this network
# would never see that a neuron is saturated. It would still learn something, since all signs are right! Such
# mistakes live long, which is why one checks derivatives and does not only watch the loss.
#
# Make mistakes of your own in Exercise 1, too. Forget `grad_y`: that one has a name. Write the slope of tanh,
# $1 - y^2$: that is a derivative, only of something else, and no name fits. `expected` and `got` remain.
#
# ### Exercise 2: leaky ReLU
#
# $y = x$ where $x > 0$, else $a\,x$ with a number $a \ge 0$, called `negative_slope`. Again the output is
# saved, from which you can see on which side of the kink an element was: for $a = 0.1$ an output of $-0.2$
# came from $-2$. `forward` has two arguments, so `backward` returns two things; the second argument is a
# plain number that nobody differentiates by, and its gradient is `None`.


# %% tags=["exercise"]
class LeakyReLUFunction(torch.autograd.Function):
    """y = x where x > 0, else negative_slope · x."""

    @staticmethod
    def forward(x, negative_slope):
        return torch.where(x > 0, x, negative_slope * x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.negative_slope = inputs  # a number may lie on ctx; tensors go through save_for_backward
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y):
        (y,) = ctx.saved_tensors
        # Your code: the gradient of x, then None for negative_slope.
        raise NotImplementedError("grad_x = ?")


# %% tags=["check"]
kinked = torch.tensor([[-2.0, 0.3, 0.0], [1.0, -0.5, 4.0]])  # one number lies on the kink
check(LeakyReLUFunction, kinked, 0.1)

# %% [markdown]
# <details><summary>Hint 1: two pieces</summary>
#
# On each piece the function is a straight line. Which slope has each? And how do you see from $y$ on which
# piece an element was?
#
# </details>
#
# <details><summary>Hint 2: in torch</summary>
#
# `torch.where(condition, a, b)` takes the elements of `a` where the condition holds and those of `b`
# elsewhere. Write two gradients, one for each piece, and choose between them.
#
# </details>
#
# <details><summary>Hint 3: the end</summary>
#
# `return grad_x, None`. At 0 you are free: take 1, `negative_slope` or anything between. The report remarks
# "a kink at 1 elements, any slope between is right".
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class LeakyReLUSolution(torch.autograd.Function):
    """Forward    y = x where x > 0, else a x
    Backward   f′ = 1 where y > 0, else a (at the kink a is taken, as torch does)
    Saves      y: for a ≥ 0 it is positive exactly where x is
    """

    @staticmethod
    def forward(x, negative_slope):
        return torch.where(x > 0, x, negative_slope * x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.negative_slope = inputs
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y):
        (y,) = ctx.saved_tensors
        grad_x = torch.where(y > 0, grad_y, ctx.negative_slope * grad_y)
        return grad_x, None


# %% tags=["choose"]
MyLeakyReLU = lesson.choose(LeakyReLUFunction, LeakyReLUSolution, kinked, 0.1)

# %% [markdown]
# ## On MNIST
#
# Your two functions become layers. With them we have all three activations: ReLU is the leaky one with
# $a = 0$, and $\tanh x = 2\,\sigma(2x) - 1$. So it is your backward that works in the tanh, too.


# %%
class Sigmoid(nn.Module):
    def forward(self, x):
        return MySigmoid.apply(x)


class Tanh(nn.Module):
    def forward(self, x):
        return 2 * MySigmoid.apply(2 * x) - 1


class ReLU(nn.Module):
    def forward(self, x):
        return MyLeakyReLU.apply(x, 0.0)


# %% [markdown]
# `deep` builds a narrow, deep network. `squares` is $n\,s^2$: each weight is drawn with mean square `squares`
# divided by the number of inputs. He's choice is `squares=2`, Xavier's is `squares=1`.


# %%
def deep(activation, squares, depth, width=32):
    torch.manual_seed(0)
    sizes = [784] + [width] * depth + [10]
    layers = [nn.Flatten()]
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        linear = nn.Linear(inputs, outputs)
        last = number == depth
        nn.init.normal_(linear.weight, std=math.sqrt((1 if last else squares) / inputs))
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, activation()]
    return nn.Sequential(*layers)


# %% [markdown]
# `sizes` sends 256 digits forward and the loss back. It notes how large the numbers are that leave each layer
# (root of the mean square), and how large the gradient is that comes back to this place (the length of the
# whole gradient). The loss is cross entropy, which lesson 4 explains. There is no training yet.

# %%
data, test = lesson.digits(train=10_000, test=2_000)


def sizes(model):
    h, outputs = data.images[:256], []
    for layer in model:
        h = layer(h)
        if isinstance(layer, (Tanh, Sigmoid, ReLU)):
            h.retain_grad()  # torch keeps h.grad, which else it drops
            outputs.append(h)
    nn.functional.cross_entropy(h, data.labels[:256]).backward()
    forward = [h.detach().square().mean().sqrt().item() for h in outputs]
    backward = [h.grad.double().norm().item() for h in outputs]
    return forward, backward


# %% [markdown]
# ### Three sizes of weights
#
# Twenty-four layers of ReLU: once with He's weights, once with weights half as large, once twice as large (so
# `squares` is 2, a quarter of it, and four times it). The derivation says $c = 1$, $\frac12$ and $2$.

# %%
scales = {"He × 2": (8.0, lesson.RED), "He": (2.0, lesson.GREEN), "He × ½": (0.5, lesson.BLUE)}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True)
layer = range(1, 25)
for name, (squares, colour) in scales.items():
    forward, backward = sizes(deep(ReLU, squares, depth=24))
    axes[0].semilogy(layer, forward, "o-", ms=3, color=colour, label=name)
    axes[1].semilogy(layer, backward, "o-", ms=3, color=colour, label=name)
    ratio = backward[0] / backward[-1]
    print(f"{name:7} first / last layer: {ratio:.1e}, so a factor {ratio ** (1 / 23):.2f} for each layer")
axes[0].set(title="The way forward: size of $h_l$ →", xlabel="layer $l$")
axes[1].set(title="← The way back: size of the gradient of $h_l$", xlabel="layer $l$")
axes[0].legend(loc="upper left")
plt.show()

# %% [markdown]
# Straight lines on a logarithmic axis, as predicted. Read the right picture from right to left, the way the
# gradient goes. With weights half as large as He's, the first layer gets less than a millionth of what the
# last one gets; with weights twice as large, it gets ten million times as much. On the left you see that the
# same factor rules the way forward: what is too small for the gradient is too small for the digits as well.
# That is no accident: the weights are the same, and for ReLU the share of open neurons, $\frac12$, is the
# same.
#
# ### Three activations

# %%
kinds = {
    "ReLU, squares 2 (He)": (ReLU, 2.0, lesson.GREEN),
    "tanh, squares 1 (Xavier)": (Tanh, 1.0, lesson.ORANGE),
    "ReLU, squares 1": (ReLU, 1.0, lesson.BLUE),
    "sigmoid, squares 1": (Sigmoid, 1.0, "black"),
}
figure, axis = plt.subplots(figsize=(7.6, 3.6))
for name, (activation, squares, colour) in kinds.items():
    _, backward = sizes(deep(activation, squares, depth=24))
    axis.semilogy(layer, backward, "o-", ms=3, color=colour, label=name)
    print(f"{name:25} first layer / last layer: {backward[0] / backward[-1]:.1e}")
axis.set(xlabel="layer $l$", ylabel="size of the gradient", title="The gradient of $h_l$, before training")
axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown]
# The sigmoid loses a little more than the factor 4 at every layer. Tanh with Xavier's weights loses slowly:
# its slope is below 1 wherever $z \ne 0$. ReLU with Xavier's weights loses the factor $\sqrt{1/2}$, which is
# the half of the squares that He gives back.
#
# ### Do they learn?
#
# Twelve layers of 32 neurons, trained with plain gradient descent, all with the same step. The dotted line is
# $\ln 10 \approx 2.3$: the loss of someone who has learned nothing and gives each digit the probability 1/10.

# %%
contenders = {
    "ReLU, He": (ReLU, 2.0, lesson.GREEN),
    "tanh, Xavier": (Tanh, 1.0, lesson.ORANGE),
    "sigmoid, Xavier": (Sigmoid, 1.0, "black"),
    "ReLU, He × ½": (ReLU, 0.5, lesson.BLUE),
    "ReLU, He × 2": (ReLU, 8.0, lesson.RED),
}
history = {}
for name, (activation, squares, _) in contenders.items():
    model = deep(activation, squares, depth=12)
    losses = history[name] = lesson.train(model, data, epochs=6, lr=0.05)
    end = sum(losses[-50:]) / 50
    percent = lesson.accuracy(model, test)
    print(f"{name:16} loss {losses[0]:8.2f} at the start, {end:5.2f} at the end; reads {percent:4.1f} %")

# %%
figure, axis = plt.subplots(figsize=(7.6, 3.6))
styles = {"sigmoid, Xavier": "-", "ReLU, He × ½": "--"}
for name, losses in history.items():
    smooth = torch.tensor(losses).unfold(0, 20, 1).mean(1)  # the mean of 20 steps
    if smooth.isfinite().all():
        axis.plot(smooth, color=contenders[name][2], ls=styles.get(name, "-"), label=name)
    else:
        first = next(step for step, loss in enumerate(losses) if not math.isfinite(loss))
        axis.plot([], color=contenders[name][2], label=f"{name}: not a number\nfrom step {first} on")
axis.axhline(math.log(10), color=lesson.GREY, ls=":")
axis.set(xlabel="step", ylabel="loss", ylim=(0, 2.6), title="Twelve layers")
axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown]
# Two networks read digits; three do not. They have the same layers, the same data and the same step, and
# differ only in one function or one number. In detail:
#
# - *He* and *Xavier* learn.
# - *Sigmoid* and *He × ½* stay on the dotted line. All that they learn is the offset of the last layer, that
#   is, how frequent each digit is: they answer 1 to everything, and 11.7 % of the digits are a 1. (They
#   overlap in the picture, one of them dashed.) Patience helps a little: with `epochs=60`, *He × ½* does
#   leave the line in the end. Sigmoid does not.
# - *He × 2* starts with a loss in the thousands. The first steps are so large that the weights leave the
#   range of floating-point numbers, and everything is NaN (*not a number*) from then on. NaN never comes
#   back.

# %% [markdown]
# ## What the library does
#
# The pages are [`activation.py`](../manualgrad/layers/activation.py) for tanh, the sigmoid and their
# relatives, and [`piecewise.py`](../manualgrad/layers/piecewise.py) for ReLU and others that are made of
# straight pieces ([`leaky.py`](../manualgrad/layers/leaky.py) has the leaky ones). The backward of
# `SigmoidFunction` there is the line that you wrote. What is worth a look:
#
# ### What is kept
#
# Between two linear layers, we count the bytes that forward keeps for backward, with the library's ReLU,
# which saves its output, and with one that saves its input.

# %%
from manualgrad.bench.measure import saved_bytes


class InputReLU(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.relu()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)  # x instead of y

    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, grad_y, 0)


first, second, batch = nn.Linear(256, 256), nn.Linear(256, 256), torch.randn(1000, 256)
parameters = [*first.parameters(), *second.parameters()]
for name, relu in (("saves x", InputReLU.apply), ("saves y", manualgrad.functional.relu)):
    kept = saved_bytes(lambda relu=relu: second(relu(first(batch))), parameters)
    print(f"{name}: {kept:,} bytes = {kept // (1000 * 256 * 4)} tensors of 1000 × 256 numbers")

# %% [markdown]
# One tensor is the batch itself, one is $y$, which the second linear layer keeps in any case. The third one,
# $x$, is what saving the wrong thing costs: here, half as much again.
#
# ### What it costs in digits
#
# The output has fewer digits for the slope than the input where it saturates. In float32, the number next to
# 1 is about $1 - 6 \cdot 10^{-8}$. So for large $x$ the sigmoid *is* 1, and $y(1 - y)$ is exactly 0; on the
# other side, $y$ is a small number with all its digits, and nothing is lost.

# %%
for value in (-20.0, 20.0):
    x = torch.tensor(value, requires_grad=True)
    manualgrad.functional.sigmoid(x).backward()
    exact = 1 / (2 + math.exp(value) + math.exp(-value))
    print(f"x = {value:5g}: slope from the output {x.grad.item():.3e}, exact {exact:.3e}")

# %% [markdown]
# The library accepts that, as PyTorch does: a slope of $2 \cdot 10^{-9}$ that is taken for 0 does no harm in
# a network. It matters in another place.
#
# ### The logarithm of a sigmoid
#
# A loss often needs $\log \sigma(x)$ (the natural logarithm, as torch's `log` is). Computed in two steps it
# breaks where the sigmoid is 0 in float32. The library has a function of its own for it, `logsigmoid`, which
# says (in words of the page) "without ever taking the logarithm of a small number":
#
# $$\log\sigma(x) = \min(x, 0) - \log(1 + e^{-|x|}), \qquad \frac{d \log\sigma}{dx} = \sigma(-x) .$$
#
# The exponent is never positive, so nothing can overflow. This function saves its *input*: $\sigma(-x)$ has
# all its digits.

# %%
for name, function in {
    "log(sigmoid(x))": lambda x: torch.log(manualgrad.functional.sigmoid(x)),
    "logsigmoid(x)": manualgrad.functional.logsigmoid,
}.items():
    x = torch.tensor(-200.0, requires_grad=True)
    y = function(x)
    y.backward()
    print(f"{name:16} at x = -200: {y.item():5g}, its slope {x.grad.item():g}")

# %% [markdown]
# $-\infty$ and NaN against −200 and 1. NaN is $\infty \cdot 0$: the logarithm sends back $1/\sigma = 1/0$,
# and the sigmoid multiplies it by its slope, 0. Lesson 4 meets this trouble again, with ten classes instead
# of two.
#
# ### At the kink
#
# Every page says in its docstring which slope is taken at a kink, and it is the one that PyTorch takes: for
# ReLU it is zero. Its backward is one line:
#
#     grad_x = torch.where(y <= 0, 0, grad_y)
#
# (Why not `y > 0` with the two exchanged? For NaN every comparison is false. So where $y$ is NaN the gradient
# passes, as it does in PyTorch.) `manualgrad.check` knows of kinks: it compares the slopes to the left and to
# the right, and accepts what lies between.

# %%
x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
for name in ("relu", "relu6", "leaky_relu", "hardtanh"):
    (slope,) = torch.autograd.grad(getattr(manualgrad.functional, name)(x).sum(), x)
    print(f"{name:11} slopes at -1, 0, 1: {[round(s, 4) for s in slope.tolist()]}")

# %% [markdown]
# ## The question behind
#
# *Why could deep networks not be trained for so long, and what exactly has to be preserved with depth?*
#
# That the gradient through many steps shrinks or grows exponentially was shown for recurrent networks
# (Bengio, Simard, Frasconi 1994, doi:10.1109/72.279181). How to choose the weights was found later: Glorot
# and Bengio (2010, proceedings.mlr.press/v9/glorot10a) for tanh and its kin, He, Zhang, Ren and Sun (2015,
# arXiv:1502.01852) for ReLU. It is surprising how much depended on a factor $\sqrt 2$: you have seen what
# $\left(\sqrt{1/2}\right)^{24}$ is.
#
# Is $c = 1$ enough? The next cell makes the He network deeper. It prints how the gradient arrives, the loss
# after as much training as before, and how alike two digits look to the last layer (the mean cosine between
# the outputs $h$ of pairs of digits; 1 means that they point the same way).

# %%
for depth in (12, 24, 48):
    model = deep(ReLU, 2.0, depth)
    _, backward = sizes(model)
    with torch.no_grad():
        h = nn.functional.normalize(model[:-1](data.images[:256]), dim=1)
    alike = ((h @ h.T).sum() - len(h)) / (len(h) * (len(h) - 1))
    end = sum(lesson.train(model, data, epochs=6, lr=0.05)[-50:]) / 50
    print(
        f"{depth} layers: gradient first / last {backward[0] / backward[-1]:4.2f}, "
        f"pairs of digits alike {alike:.3f}, loss after training {end:.2f}"
    )

# %% [markdown]
# The gradient arrives at every depth, and still learning gets harder. To the last layer of a very deep
# network all digits look the same, and what looks the same cannot be told apart. Schoenholz, Gilmer, Ganguli
# and Sohl-Dickstein (2017, arXiv:1611.01232) studied this: each layer makes two inputs more alike or more
# different, and a network can be trained about as deep as the difference between them survives. For which
# networks a good start *guarantees* learning, and what it means for the solution that is found, is still
# being worked on.

# %% [markdown]
# ## What you know now
#
# - The backward of an activation is `grad_y` times the slope, element by element; the slope is that at the
#   input.
# - Tanh and sigmoid know their slope from the output: $1 - y^2$ and $y(1-y)$. ReLU asks whether $y > 0$.
#   Saving $y$ costs no memory, as the next layer keeps it anyway.
# - A layer multiplies the length of the gradient by about $c = \sqrt{n s^2 m}$, and depth makes it $c^n$:
#   below 1 it vanishes, above 1 it explodes.
# - $s^2 = 2/n$ for ReLU (He), $1/n$ for tanh (Xavier). The sigmoid has $c \le 1/4$ and loses the gradient.
# - At a kink there are several right answers. A good library tells you which one it takes.
#
# Two more exercises, without solution:
#
# 1. Softplus is $y = \ln(1 + e^x)$, a ReLU without a kink. Show that its slope is $\sigma(x)$, and express
#    that by the output: $1 - e^{-y}$. Write the Function, and let `check` judge it. What happens to it at
#    $x = 100$ in float32?
# 2. For a leaky ReLU with slope $a$, half of the neurons have $f'^2 = 1$ and half have $f'^2 = a^2$. Which
#    $s^2$ gives $c = 1$? Test it with `sizes` at $a = 0.3$ and 24 layers.
#
# Next: [lesson 4](04_cross_entropy.ipynb), softmax and cross entropy, where the gradient starts its way.
