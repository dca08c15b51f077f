# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 5. A whole network by hand
#
# At the end you will have trained a network that reads more than 97 of 100 digits it has never seen, and
# every line of it will be yours: forward, error, backward, update. No `nn.Module`, no autograd, no optimizer.
# You will also know what the learning rate does: too small crawls, too large overshoots, and where the border
# between them lies. Needs: lessons 2 to 4 (the linear layer, ReLU, softmax and cross entropy), and the
# derivative of $x^2$. Time: about 80 minutes.

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

lesson.style()
# %% [markdown]
# ## The idea
#
# A network is layers in a row. Ours has two linear layers with a ReLU between them, which is called a
# **multi-layer perceptron**, MLP for short. A digit goes in as 784 numbers, one for each of its 28 × 28
# pixels. Ten numbers come out, the **logits**, one for each digit from 0 to 9; the largest is the answer.
#
# Training goes round and round through four steps:
#
# 1. **forward**: compute the logits of a few digits, and keep what the way back will need;
# 2. **error**: compare them with the labels. One number, the loss, says how wrong they are, and its gradient
#    says in which direction each logit should change;
# 3. **backward**: hand that gradient from layer to layer, from the end to the start. On the way each weight
#    learns its share: by how much would the loss change if this weight did?
# 4. **update**: move each weight a little against its gradient.
#
# The next picture has the whole way. Blue goes forward, orange comes back. Under each quantity stands, in
# orange, the gradient of the loss by it, which has the same shape. The orange arrows that point down are what
# each layer computes for its own weights.


# %%
def draw_network(axes):
    names = ["x", "v", "h", "z", "L"]
    sizes = ["784 pixels", "256 sums", "256 neurons", "10 logits", "loss"]
    layers = ["Linear\n$W_1, b_1$", "ReLU", "Linear\n$W_2, b_2$", "cross\nentropy"]
    arrow = {"arrowstyle": "-|>", "lw": 2, "mutation_scale": 14}
    for k, (name, size) in enumerate(zip(names, sizes)):
        axes.text(2 * k, 0, f"${name}$", size=17, ha="center", va="center")
        axes.text(2 * k, 0.62, size, size=9, ha="center", color=lesson.GREY)
        if k:
            axes.annotate(
                "", (2 * k - 0.3, 0.22), (2 * k - 1.7, 0.22), arrowprops=arrow | {"color": lesson.BLUE}
            )
            axes.text(2 * k - 1, 0.36, layers[k - 1], size=9.5, ha="center", va="bottom", color=lesson.BLUE)
            axes.annotate(
                "", (2 * k - 1.7, -0.22), (2 * k - 0.3, -0.22), arrowprops=arrow | {"color": lesson.ORANGE}
            )
        if k < 4:
            axes.text(
                2 * k, -0.75, rf"$\partial L/\partial {name}$", size=11, ha="center", color=lesson.ORANGE
            )
    for k, number in ((1, 1), (5, 2)):
        shares = rf"$\partial L/\partial W_{number},\;\partial L/\partial b_{number}$"
        axes.annotate(
            shares,
            (k, -0.25),
            (k, -1.35),
            ha="center",
            color=lesson.ORANGE,
            arrowprops={"arrowstyle": "<|-", "color": lesson.ORANGE, "lw": 1.5},
        )
    axes.set(xlim=(-0.9, 8.6), ylim=(-1.5, 1.15))
    axes.axis("off")


figure, axes = plt.subplots(figsize=(8.6, 2.9))
draw_network(axes)
plt.show()

# %% [markdown]
# How far is "a little"? The gradient says which way is down, and how steep it is here. It does not say how
# far the bottom is. That we choose, by a number called the **learning rate**, $\alpha$ (alpha). Here is
# what it does in the simplest valley there is, a parabola. All three walks start at the same place and take
# six steps.


# %%
def walk(rate, start=-2.0, steps=6, curvature=1.0):
    """Gradient descent on L(w) = curvature · w² / 2, whose derivative is curvature · w."""
    places = [start]
    for _ in range(steps):
        places.append(places[-1] - rate * curvature * places[-1])
    return torch.tensor(places)


def draw_walk(axes, rate, title, color):
    w, places = torch.linspace(-4.2, 4.2, 200), walk(rate)
    axes.plot(w, w**2 / 2, color=lesson.GREY, lw=1.5)
    axes.plot(places, places**2 / 2, "o-", color=color, lw=1.2, ms=5)
    axes.annotate("start", (-2, 2), (-13, -2), textcoords="offset points", ha="right", size=9)
    axes.set(title=title, xlabel="weight $w$", ylim=(-0.4, 8.5))
    axes.title.set_color(color)


figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3), sharey=True)
draw_walk(left, 0.1, r"$\alpha = 0.1$: crawls", lesson.BLUE)
draw_walk(middle, 0.7, r"$\alpha = 0.7$: arrives", lesson.GREEN)
draw_walk(right, 2.1, r"$\alpha = 2.1$: overshoots", lesson.RED)
left.set_ylabel("loss $L = w^2/2$")
plt.show()
# %% [markdown]
# On the left, six steps are not enough. In the middle they are: the last points lie on one another. On the
# right each step jumps over the valley and lands on the other wall, higher than before, where it is steeper,
# so that the next step is longer still.
#
# ## By hand
#
# A network small enough for a sheet of paper: two inputs, two hidden neurons, two outputs.
#
# $$x = (1,\ 2), \qquad W_1 = \begin{pmatrix} 1 & 1 \\ 1 & -1 \end{pmatrix}, \quad b_1 = (0,\ 0), \qquad
#   W_2 = \begin{pmatrix} 1 & 2 \\ -1 & 1 \end{pmatrix}, \quad b_2 = (0,\ 1)$$
#
# Row $k$ of a weight matrix belongs to neuron $k$. For the error we take half the squared distance to a
# target $t = (2,\ -1)$, because its gradient is so simple: $L = \tfrac12 \sum_k (z_k - t_k)^2$ has
# $\partial L/\partial z_k = z_k - t_k$.
#
# **Forward.**
#
# - $v = (1 \cdot 1 + 1 \cdot 2,\;\; 1 \cdot 1 - 1 \cdot 2) = (3,\ -1)$
# - $h = (3,\ 0)$, because the ReLU turns $-1$ into 0
# - $z = (1 \cdot 3 + 2 \cdot 0 + 0,\;\; -1 \cdot 3 + 1 \cdot 0 + 1) = (3,\ -2)$
#
# **Error.** $z - t = (1,\ -1)$, so $L = \tfrac12 (1 + 1) = 1$.
#
# **Backward.** We write $g$ for the gradient that arrives; at first $g = \partial L/\partial z = (1,\ -1)$.
#
# - $b_2$ is added to $z$, so it gets $g$ itself: $(1,\ -1)$.
# - The weight in row $k$, column $j$ of $W_2$ was multiplied by $h_j$ on its way to $z_k$. It gets $g_k h_j$:
#   rows $1 \cdot (3, 0)$ and $-1 \cdot (3, 0)$.
# - Neuron $j$ went to both logits, by the weights in column $j$. It gets what comes back from both:
#   $\partial L/\partial h = (1 \cdot 1 + (-1) \cdot (-1),\;\; 2 \cdot 1 + 1 \cdot (-1)) = (2,\ 1)$.
# - The ReLU lets through where $v > 0$ and stops the rest: $\partial L/\partial v = (2,\ 0)$. The second
#   neuron was off. It did not contribute, and it is not to blame.
# - The first layer does what the second did, with $(2,\ 0)$ in the place of $g$ and $x$ in the place of $h$:
#   $b_1$ gets $(2,\ 0)$, and $W_1$ gets the rows $2 \cdot (1, 2) = (2, 4)$ and $(0, 0)$.
#
# The next cell computes the same with PyTorch's autograd and compares.

# %%
x, t = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, -1.0]])
w1, b1 = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([0.0, 0.0])
w2, b2 = torch.tensor([[1.0, 2.0], [-1.0, 1.0]]), torch.tensor([0.0, 1.0])


def loss_of(w1, b1, w2, b2):
    z = (x @ w1.T + b1).relu() @ w2.T + b2
    return ((z - t) ** 2).sum() / 2


by_hand = [
    torch.tensor([[2.0, 4.0], [0.0, 0.0]]),  # W1
    torch.tensor([2.0, 0.0]),  # b1
    torch.tensor([[3.0, 0.0], [-3.0, 0.0]]),  # W2
    torch.tensor([1.0, -1.0]),  # b2
]
for_autograd = [w.clone().requires_grad_() for w in (w1, b1, w2, b2)]
loss = loss_of(*for_autograd)
by_autograd = torch.autograd.grad(loss, for_autograd)
assert loss == 1
assert all(torch.equal(a, b) for a, b in zip(by_hand, by_autograd))
print("the same numbers")

# %% [markdown]
# **Update.** Each weight moves by $-\alpha$ times its gradient. With $\alpha = 0.05$:
#
# - $b_2$ becomes $(0 - 0.05 \cdot 1,\;\; 1 + 0.05 \cdot 1) = (-0.05,\ 1.05)$, and the 1 in the corner of
#   $W_2$ becomes $1 - 0.05 \cdot 3 = 0.85$.
#
# What does the loss become? That depends on $\alpha$ more than one might think.

# %%
for lr in (0.01, 0.05, 0.1, 0.2):
    after = [w - lr * g for w, g in zip((w1, b1, w2, b2), by_hand)]
    print(f"learning rate {lr:4}: the loss goes from 1 to {loss_of(*after):.4f}")

# %% [markdown]
# With 0.01 it falls to 0.61. With 0.05 one step all but solves the problem. With 0.1 the step has gone too
# far, though the loss is still lower than before, and with 0.2 it is almost four times what it was. Same
# network, same gradient; only the length of the step differs. The derivation tells why.
#
# ## The derivation
#
# ### Forward
#
# We take $B$ digits at once, a **batch**, one in each row. With $I$ inputs, $H$ hidden neurons and $K$
# logits, $x$ has the shape $(B, I)$, $W_1$ has $(H, I)$, $b_1$ has $(H)$, $W_2$ has $(K, H)$ and $b_2$ has
# $(K)$.
#
# $$v = x\,W_1^\top + b_1, \qquad h = \max(v, 0), \qquad z = h\,W_2^\top + b_2$$
#
# $W^\top$ is $W$ with rows and columns exchanged. $v$ and $h$ have the shape $(B, H)$, and $z$ has
# $(B, K)$. In single numbers, for digit $n$, neuron $j$, pixel $i$ and logit $k$:
#
# $$v_{nj} = \sum_i x_{ni} W_{1,ji} + b_{1,j}, \qquad h_{nj} = \max(v_{nj}, 0), \qquad
#   z_{nk} = \sum_j h_{nj} W_{2,kj} + b_{2,k}$$
#
# ### Backward
#
# Let $G_{nk} = \partial L/\partial z_{nk}$ be the gradient that the error hands us. The chain rule says:
# add up, over all ways from a quantity to the loss, the products of the derivatives along the way.
#
# **The second layer's own.** $W_{2,kj}$ reaches $L$ through $z_{nk}$, for each digit $n$ of the batch, and
# $\partial z_{nk}/\partial W_{2,kj} = h_{nj}$. For $b_{2,k}$ that derivative is 1. So
#
# $$\frac{\partial L}{\partial W_{2,kj}} = \sum_n G_{nk} h_{nj}, \quad\text{that is}\quad
#   \frac{\partial L}{\partial W_2} = G^\top h, \qquad
#   \frac{\partial L}{\partial b_2} = \sum_n G_n$$
#
# **What it hands down.** $h_{nj}$ reaches $L$ through all logits $k$ of the same digit, with
# $\partial z_{nk}/\partial h_{nj} = W_{2,kj}$:
#
# $$\frac{\partial L}{\partial h_{nj}} = \sum_k G_{nk} W_{2,kj}, \quad\text{that is}\quad
#   \frac{\partial L}{\partial h} = G\,W_2$$
#
# **The ReLU.** Its slope is 1 where $v > 0$ and 0 where $v < 0$. At 0 there is a kink; we take 0, as PyTorch
# does. Since $h > 0$ exactly where $v > 0$, the output tells it as well. With $\odot$ for "number by number"
# and $[\,\cdot\,]$ for 1 where the condition holds and 0 elsewhere:
#
# $$\frac{\partial L}{\partial v} = \frac{\partial L}{\partial h} \odot [h > 0]$$
#
# **The first layer** is a linear layer like the second. Put $x$ for $h$, and $D = \partial L/\partial v$
# for $G$:
#
# $$\frac{\partial L}{\partial W_1} = D^\top x, \qquad \frac{\partial L}{\partial b_1} = \sum_n D_n, \qquad
#   \frac{\partial L}{\partial x} = D\,W_1$$
#
# That is all of backpropagation. Nothing new happens in a network of 100 layers: each asks "what do my own
# weights get?" and "what do I hand down?", and needs for it what it saw on the way forward. For one matrix
# product forward there are two on the way back, so a backward costs about twice as much as its forward.
#
# ### Update: which way
#
# Write all weights of the network as one long vector $w$, and their gradient as $g$. A small step $\delta$
# changes the loss by about $g \cdot \delta = |g|\,|\delta| \cos\varphi$, where $\varphi$ is the angle between
# them. Of all steps of one length, the one with $\cos\varphi = -1$ goes down most. It points against the
# gradient:
#
# $$w \leftarrow w - \alpha g, \qquad \text{and the loss changes by about} \quad -\alpha\,|g|^2$$
#
# In the small network above $|g|^2$ is $4 + 16 + 4 + 9 + 9 + 1 + 1 = 44$. So with $\alpha = 0.01$ the loss
# should fall by 0.44, and it fell by 0.39. With $\alpha = 0.05$ it should fall by 2.2, below zero, which a
# sum of squares cannot. "About" holds for small steps only: on the way the slope changes.
#
# ### Update: how far
#
# How fast the slope changes is the second derivative, the **curvature** $a$. In the parabola
# $L(w) = \tfrac12 a w^2$ with $a > 0$ it is the same everywhere. The slope is $L'(w) = a w$, and the update
# is
#
# $$w \leftarrow w - \alpha\,a\,w = (1 - \alpha a)\,w$$
#
# Each step multiplies the distance to the bottom by the same number, so after $T$ steps
# $w_T = (1 - \alpha a)^T w_0$. This goes to 0 exactly if $-1 < 1 - \alpha a < 1$, that is, if
#
# $$0 < \alpha < \frac{2}{a}$$
#
# - $\alpha a$ close to 0: the factor is almost 1. **It crawls.**
# - $\alpha a = 1$: the factor is 0. One step, and there.
# - $1 < \alpha a < 2$: the factor is negative. Each step lands on the other side, but nearer.
# - $\alpha a > 2$: the factor is below $-1$. Each step lands on the other side, further away. **It
#   overshoots.**
#
# A network has many weights, and a curvature for each direction. In a valley with two directions,
# $L = \tfrac12 (a_1 w_1^2 + a_2 w_2^2)$, each weight goes its own way: $w_1$ is multiplied by
# $1 - \alpha a_1$ and $w_2$ by $1 - \alpha a_2$. The *largest* curvature sets the limit,
# $\alpha < 2/a_\text{max}$. The *smallest* sets how long it takes. The next cell draws a valley with
# $a_1 = 1$ and $a_2 = 12$, so the limit is $2/12 \approx 0.167$.


# %%
def walk_in_valley(rate, curvatures=(1.0, 12.0), start=(-4.0, 1.2), steps=15):
    coordinates = [walk(rate, w, steps, a) for w, a in zip(start, curvatures)]
    return torch.stack(coordinates)


w = torch.meshgrid(torch.linspace(-4.6, 1.4, 90), torch.linspace(-2.9, 2.9, 80), indexing="xy")
height = (w[0] ** 2 + 12 * w[1] ** 2) / 2
figure, all_axes = plt.subplots(1, 3, figsize=(9, 2.9), sharey=True)
walks = [
    (0.01, 15, "crawls", lesson.BLUE),
    (0.15, 15, "arrives", lesson.GREEN),
    (0.18, 5, "overshoots", lesson.RED),
]
for axes, (rate, steps, word, color) in zip(all_axes, walks):
    axes.contour(*w, height, levels=[0.3, 1.5, 4, 9, 16, 25, 36], colors=lesson.GREY, linewidths=0.7)
    axes.plot(*walk_in_valley(rate, steps=steps), "o-", color=color, ms=3.5, lw=1)
    axes.plot(0, 0, "k+", ms=9)
    axes.set_title(rf"$\alpha = {rate}$: {word}", color=color)
    axes.set(xlabel="$w_1$ (curvature 1)", xlim=(-4.6, 1.4), ylim=(-2.9, 2.9))
all_axes[0].set_ylabel("$w_2$ (curvature 12)")
plt.show()

# %% [markdown]
# Fifteen steps with the first two rates, five with the last; the cross is the bottom. With 0.15 the steps
# zigzag across the steep direction, nearer each time, and move along the flat one at the same time. Had we
# made $\alpha$ a little larger, the flat direction would be faster and the steep one would be lost: with
# 0.18 its factor is $1 - 0.18 \cdot 12 = -1.16$.
#
# ## Your turn
#
# Three exercises, from one layer to the whole. As in the lessons before, `forward` and `setup_context` are
# given, and `backward` is yours. Until you write it, the report says "not written", and the lesson goes on
# with the solution.
#
# ### Exercise 1: a hidden layer, in one
#
# A linear layer and its ReLU, as one Function. Two backwards that you know, one after the other.


# %% tags=["exercise"]
class HiddenFunction(torch.autograd.Function):
    """h = max(x Wᵀ + b, 0).   x: (B, I);  W: (H, I);  b: (H);  h: (B, H)"""

    @staticmethod
    def forward(x, weight, bias):
        return (x @ weight.T + bias).relu()

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight, output)

    @staticmethod
    def backward(ctx, grad_h):
        x, weight, h = ctx.saved_tensors
        # Your code: grad_v first, then a gradient for each input, in the order of forward's arguments.
        raise NotImplementedError("grad_v = ?  grad_x = ?  grad_weight = ?  grad_bias = ?")


# %% tags=["check"]
torch.manual_seed(0)
x, weight, bias = torch.randn(5, 4), torch.randn(3, 4), torch.randn(3)
check(HiddenFunction, x, weight, bias)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $v$ itself was not saved. But you do not need it: $h > 0$ exactly where $v > 0$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `grad_v = grad_h * (h > 0)`. From there on it is the linear layer of lesson 2, with `grad_v` in the place of
# `grad_y`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Let the shapes guide you. `grad_weight` is (H, I); `grad_v` is (B, H) and `x` is (B, I). Only one product of
# these two, one of them transposed, has the right shape.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class HiddenSolution(torch.autograd.Function):
    """A linear layer and its ReLU.

    Forward    v = x Wᵀ + b,   h = max(v, 0)
    Backward   g = ∂L/∂h.   D = ∂L/∂v = g ⊙ [h > 0]
               ∂L/∂x = D W     ∂L/∂W = Dᵀ x     ∂L/∂b = Σ_n D_n
    """

    @staticmethod
    def forward(x, weight, bias):
        return (x @ weight.T + bias).relu()

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight, output)

    @staticmethod
    def backward(ctx, grad_h):
        x, weight, h = ctx.saved_tensors
        grad_v = grad_h * (h > 0)
        return grad_v @ weight, grad_v.T @ x, grad_v.sum(0)


# %% tags=["choose"]
Hidden = lesson.choose(HiddenFunction, HiddenSolution, x, weight, bias)

# %% [markdown]
# ### Exercise 2: the whole network, in one
#
# Now the backward of both layers. Five inputs, so five gradients: of $x$, $W_1$, $b_1$, $W_2$ and $b_2$.
#
# One detail. You need $h$, and $h$ is neither an input nor an output. It could be kept on the side, but
# then nothing would know how $h$ depends on $x$, and a derivative of your derivative would be silently
# wrong: a row of the report tests that. So the first line of `backward` computes $h$ once more. It costs
# one matrix product, and saves the memory that $h$ would take.


# %% tags=["exercise"]
class MLPFunction(torch.autograd.Function):
    """z = max(x W₁ᵀ + b₁, 0) W₂ᵀ + b₂.

    x: (B, I);   W₁: (H, I);   b₁: (H);   W₂: (K, H);   b₂: (K);   z: (B, K)
    """

    @staticmethod
    def forward(x, w1, b1, w2, b2):
        h = (x @ w1.T + b1).relu()
        return h @ w2.T + b2

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, w1, b1, w2, _ = inputs
        ctx.save_for_backward(x, w1, b1, w2)

    @staticmethod
    def backward(ctx, grad_z):
        x, w1, b1, w2 = ctx.saved_tensors
        h = (x @ w1.T + b1).relu()
        # Your code: start at the end. grad_w2 and grad_b2, then grad_h, grad_v, and the first layer.
        raise NotImplementedError("grad_x = ?  grad_w1 = ?  grad_b1 = ?  grad_w2 = ?  grad_b2 = ?")


# %% tags=["check"]
torch.manual_seed(0)
x = torch.randn(5, 4)
w1, b1, w2, b2 = torch.randn(3, 4), torch.randn(3), torch.randn(2, 3), torch.randn(2)
check(MLPFunction, x, w1, b1, w2, b2)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The gradients are computed from the end to the start, but returned in the order of `forward`'s arguments:
# `return grad_x, grad_w1, grad_b1, grad_w2, grad_b2`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The second layer is linear. With `grad_z` arriving: `grad_w2 = grad_z.T @ h`, `grad_b2 = grad_z.sum(0)`, and
# what it hands down is `grad_h = grad_z @ w2`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The rest is Exercise 1, with this `grad_h`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class MLPSolution(torch.autograd.Function):
    """Two linear layers and a ReLU between them.

    Forward    v = x W₁ᵀ + b₁,   h = max(v, 0),   z = h W₂ᵀ + b₂
    Backward   G = ∂L/∂z:   ∂L/∂W₂ = Gᵀ h     ∂L/∂b₂ = Σ_n G_n     ∂L/∂h = G W₂
               D = ∂L/∂v = ∂L/∂h ⊙ [h > 0]
               ∂L/∂W₁ = Dᵀ x     ∂L/∂b₁ = Σ_n D_n     ∂L/∂x = D W₁
    """

    @staticmethod
    def forward(x, w1, b1, w2, b2):
        h = (x @ w1.T + b1).relu()
        return h @ w2.T + b2

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, w1, b1, w2, _ = inputs
        ctx.save_for_backward(x, w1, b1, w2)

    @staticmethod
    def backward(ctx, grad_z):
        x, w1, b1, w2 = ctx.saved_tensors
        h = (x @ w1.T + b1).relu()
        grad_w2 = grad_z.T @ h
        grad_b2 = grad_z.sum(0)
        grad_v = (grad_z @ w2) * (h > 0)
        grad_w1 = grad_v.T @ x
        grad_b1 = grad_v.sum(0)
        grad_x = grad_v @ w1
        return grad_x, grad_w1, grad_b1, grad_w2, grad_b2


# %% tags=["choose"]
MLP = lesson.choose(MLPFunction, MLPSolution, x, w1, b1, w2, b2)

# %% [markdown]
# ### A mistake on purpose
#
# The mistake that people make most often here: they walk past the ReLU without a word. Below, `grad_h` goes
# straight into the first layer. Before you run the cell, ask yourself which of the five gradients will be
# wrong.


# %%
class WrongMLP(MLPSolution):
    @staticmethod
    def backward(ctx, grad_z):
        x, w1, b1, w2 = ctx.saved_tensors
        h = (x @ w1.T + b1).relu()
        grad_v = grad_z @ w2  # the ReLU is forgotten
        return grad_v @ w1, grad_v.T @ x, grad_v.sum(0), grad_z.T @ h, grad_z.sum(0)


check(WrongMLP, x, w1, b1, w2, b2)

# %% [markdown]
# The arrow names the mistake: the derivative of the ReLU is missing. But look at the list itself, too.
# $W_2$ and $b_2$ are not in it: their gradients were there before the way came to the ReLU. Everything
# behind it is wrong, $W_1$, $b_1$ and $x$. This is how you find a mistake in a long backward: it lies
# between the last gradient that is right and the first that is wrong. Try another one in your own: leave
# out a `.sum(0)`, exchange two gradients, or keep $h$ as `ctx.h`, and read what the report makes of it. Each
# of the three has a name there, and only one of them is found in the row `gradient`.
#
# ### Exercise 3: one turn of training
#
# So far autograd has called your `backward`. It need not: `forward` and `backward` are functions, and you can
# call them. What autograd passes as `ctx` is a notebook, in which forward leaves what backward needs. Ours
# takes four lines.


# %%
class Notes:
    """What backward needs from forward."""

    needs_input_grad = (True,) * 5

    def save_for_backward(self, *tensors):
        self.saved_tensors = tensors


def forward(x, parameters):
    """The logits, and the notes for the way back."""
    notes = Notes()
    z = MLP.forward(x, *parameters)
    MLP.setup_context(notes, (x, *parameters), z)
    return z, notes


def backward(notes, grad_z):
    """The gradients of the parameters. That of x is left out: nobody wants to change the digits."""
    _, *grads = MLP.backward(notes, grad_z)
    return grads


# %% [markdown]
# The error is the softmax and cross entropy of lesson 4: the mean over the batch of $-\log p$ of the right
# digit, and its gradient by the logits, $(p - \text{one-hot})/B$.


# %%
def error(z, labels):
    """The loss, and its gradient by the logits."""
    log_p = z.log_softmax(1)
    loss = -log_p.gather(1, labels[:, None]).mean()
    grad_z = (log_p.exp() - nn.functional.one_hot(labels, z.shape[1])) / len(labels)
    return loss.item(), grad_z


# %% [markdown]
# Now put them together. `step` gets the parameters as a list $[W_1, b_1, W_2, b_2]$, a batch and the learning
# rate. It returns the loss and a new list of parameters.


# %% tags=["exercise"]
def step(parameters, images, labels, lr):
    """Forward, error, backward, update: the loss, and the new parameters."""
    # Your code, four lines: one call of forward, of error, of backward, and the update of each parameter.
    raise NotImplementedError("forward, error, backward, update = ?")


# %% [markdown]
# A training step is no derivative, so `check` cannot judge it. The next cell does. Here PyTorch's autograd is
# the referee: it computes what the new parameters should be, and `examine` puts into words what differs.


# %%
def describe(name, change, expected, lr, batch):
    """What is wrong with the change of one parameter; empty if nothing is."""
    known = {
        "it did not change at all": 0 * expected,
        "it went uphill: there is a sign missing": -expected,
        "the learning rate is missing": expected / lr,
        "the learning rate is there twice": expected * lr,
        "the gradient is the sum over the batch; error already divides by its size": expected * batch,
    }
    if change.shape != expected.shape:
        return f"{name}: shape {list(change.shape)}, expected {list(expected.shape)}"
    if torch.allclose(change, expected, atol=1e-6):
        return ""
    for words, wrong in known.items():
        if torch.allclose(change, wrong, atol=1e-6):
            return f"{name}: {words}"
    return f"{name}: the change is off by up to {(change - expected).abs().max():.2g}"


def examine(step, lr=0.3):
    """What is wrong with a training step, line by line; "right" if nothing is."""
    torch.manual_seed(1)
    images, labels = torch.randn(6, 5), torch.randint(4, (6,))
    old = [torch.randn(3, 5), torch.randn(3), torch.randn(4, 3), torch.randn(4)]
    leaves = [w.clone().requires_grad_() for w in old]
    hidden = (images @ leaves[0].T + leaves[1]).relu()
    true_loss = nn.functional.cross_entropy(hidden @ leaves[2].T + leaves[3], labels)
    expected = [-lr * g for g in torch.autograd.grad(true_loss, leaves)]
    kept = [w.clone() for w in old]
    try:
        answer = step(old, images, labels, lr)
    except NotImplementedError as hole:
        return f"not written yet: {hole}"
    except Exception as mistake:
        return f"it raises {type(mistake).__name__}: {mistake}"
    if not isinstance(answer, tuple) or len(answer) != 2 or len(answer[1]) != 4:
        return "it should return two things: the loss, and a list of four parameters"
    loss, new = answer
    rows = (
        [] if abs(loss - true_loss.item()) < 1e-5 else [f"the loss is {loss:.4f}, expected {true_loss:.4f}"]
    )
    if not all(torch.equal(w, k) for w, k in zip(old, kept)):
        rows.append("it writes into the parameters that it was given; make new ones")
    changes = zip(["W1", "b1", "W2", "b2"], new, kept, expected)
    rows += [describe(name, after - before, true, lr, 6) for name, after, before, true in changes]
    return "\n".join(filter(None, rows)) or "right"


# %% tags=["check"]
print(examine(step))

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `z, notes = forward(images, parameters)`. Then `error` takes `z` and the labels and gives two things, of
# which `backward` needs one.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `zip(parameters, grads)` goes through both lists side by side. The update is
# $w \leftarrow w - \alpha\,\partial L/\partial w$ for each pair.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
def step_solution(parameters, images, labels, lr):
    """Forward, error, backward, update: the loss, and the new parameters."""
    z, notes = forward(images, parameters)
    loss, grad_z = error(z, labels)
    grads = backward(notes, grad_z)
    return loss, [w - lr * g for w, g in zip(parameters, grads)]


# %% tags=["choose"]
assert examine(step_solution) == "right"
train_step = step if examine(step) == "right" else step_solution
print("Yours trains the network." if train_step is step else "Not right yet: the solution stands in.")

# %% [markdown]
# ## On MNIST
#
# 60,000 digits to learn from, and 10,000 others for the test. The weights start at random, from a normal
# distribution with variance $2/I$ (lesson 3 says why), and the biases at 0. The loop below has no line that
# you do not know.

# %%
training, test = lesson.digits()


def start(hidden=256, seed=0):
    """[W1, b1, W2, b2], before training."""
    generator = torch.Generator().manual_seed(seed)
    w1 = torch.randn(hidden, 784, generator=generator) * (2 / 784) ** 0.5
    w2 = torch.randn(10, hidden, generator=generator) * (2 / hidden) ** 0.5
    return [w1, torch.zeros(hidden), w2, torch.zeros(10)]


def train(parameters, data, lr, epochs=1, batch=50, seed=0):
    """Once through the data is an epoch. Returns the losses of all steps and the parameters."""
    generator, losses = torch.Generator().manual_seed(seed), []
    for _ in range(epochs):
        for images, labels in data.batches(batch, generator):
            loss, parameters = train_step(parameters, images.reshape(batch, 784), labels, lr)
            losses.append(loss)
    return losses, parameters


def read(parameters, data):
    """The digits that the network reads in the images."""
    return MLP.forward(data.images.reshape(-1, 784), *parameters).argmax(1)


# %% [markdown]
# Five times through all digits, with $\alpha = 0.1$. Expect more than 97 %.

# %%
losses, parameters = train(start(), training, lr=0.1, epochs=5)
answers = read(parameters, test)
accuracy = 100 * (answers == test.labels).float().mean().item()
print(f"{len(losses)} steps; the network reads {accuracy:.1f} % of the test digits rightly")
assert not any(p.requires_grad for p in parameters), "autograd took part"
assert accuracy >= 97, accuracy

# %% [markdown]
# Nothing here asked for a gradient from autograd: no parameter has `requires_grad`. The loss of single
# batches jumps about, as each has other digits. The dark line is the mean over 100 steps. On the right are
# digits of the test that are read wrongly, with the answer and, in brackets, the label.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.1), width_ratios=(1.15, 1))
smooth = torch.tensor(losses).unfold(0, 100, 1).mean(1)
left.plot(losses, color=lesson.BLUE, alpha=0.2, lw=0.5)
left.plot(range(99, len(losses)), smooth, color=lesson.BLUE)
left.set(yscale="log", ylim=(2e-3, 5), xlabel="step", ylabel="loss", title="The loss while training")
wrong = (answers != test.labels).nonzero()[:10, 0]
tiles = test.images[wrong, 0].reshape(2, 5, 28, 28)
right.imshow(tiles.permute(0, 2, 1, 3).reshape(56, 140))
for k, place in enumerate(wrong.tolist()):
    text = f"{answers[place]} ({test.labels[place]})"
    right.text(28 * (k % 5) + 14, (-2, 64)[k // 5], text, ha="center", size=9)
right.set_title(f"Ten of the {int((answers != test.labels).sum())} that are read wrongly", pad=16)
right.axis("off")
plt.show()
# %% [markdown]
# ### Too small, right, overshooting
#
# Now the learning rate. The same start, the same 6,000 digits in the same order, 240 steps; only $\alpha$
# differs. Nine rates, a factor of about 3 apart; we look at the loss at the end, and at the hidden neurons.

# %%
few = lesson.Digits(training.images[:6000], training.labels[:6000])
rates = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
runs = {rate: train(start(), few, rate, epochs=2) for rate in rates}
last = {rate: sum(losses[-40:]) / 40 for rate, (losses, _) in runs.items()}


def never_on(parameters, data):
    """How many hidden neurons are off for every one of the digits."""
    w1, b1 = parameters[:2]
    return int(((data.images.reshape(-1, 784) @ w1.T + b1) <= 0).all(0).sum())


for rate, (losses, found) in runs.items():
    print(
        f"learning rate {rate:6}: largest loss {max(losses):7.2f}, last {last[rate]:.2f}, "
        f"{never_on(found, few):3} of 256 neurons never on"
    )

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3))
shown = {0.001: ("crawls", lesson.BLUE), 0.1: ("right", lesson.GREEN), 1.0: ("overshoots", lesson.RED)}
right.plot(rates, list(last.values()), "o-", color=lesson.GREY)
for rate, (word, color) in shown.items():
    smooth = torch.tensor(runs[rate][0]).unfold(0, 5, 1).mean(1)
    left.plot(smooth, color=color, label=rf"$\alpha$ = {rate:g}: {word}")
    right.plot(rate, last[rate], "o", color=color, ms=9)
for axes in (left, right):
    axes.axhline(2.303, color=lesson.GREY, ls=":", lw=1)
    axes.set_yscale("log")
left.text(238, 2.45, "guessing: ln 10", ha="right", va="bottom", size=8, color=lesson.GREY)
left.set(xlabel="step", ylabel="loss (mean of 5 steps)", title="240 steps with three rates")
left.legend(fontsize=9)
right.set(
    xscale="log", xlabel=r"learning rate $\alpha$", ylabel="loss (last 40 steps)", title="Where it gets"
)
right.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
right.minorticks_off()
plt.show()

# %% [markdown]
# The dotted line is the loss of a network that says "each digit with probability 1/10", $\ln 10 = 2.30$.
#
# - **Too small.** 0.001 goes down all the time, but after 240 steps it is not where 0.1 was after twenty.
# - **Right.** Between about 0.03 and 0.3 the choice matters little. On a logarithmic scale the valley is
#   wide, and this is why one tries rates by factors of 3 or 10.
# - **Overshooting.** 1.0 jumps up to a loss of 44 in its first steps. Then the loss comes down and stays
#   high, and the last column says why: the weights were thrown to a place where most of the hidden neurons
#   are off for every digit. A ReLU that is off lets no gradient through, so these neurons cannot come back.
#   With 3.0 almost none is left to learn with.
#
# The right side of the valley is a wall and the left side a slope. And the best rate is not far from the
# one that is too large, as in the parabola, where the fastest is $1/a$ and the limit $2/a$.
#
# ## What the library does
#
# With `nn.Module`s the network is three lines. `manualgrad.swap` gives them hand-written backwards, and
# `manualgrad.fuse` finds the linear layer and the ReLU behind it and computes them in one: your Exercise 1.
# The library's version of it is in
# [`manualgrad/layers/linear_activation.py`](../manualgrad/layers/linear_activation.py). Its optimizer,
# `manualgrad.optim.SGD`, is your update. First: are the steps the same? We train both from the same weights
# on the same 100 batches.

# %%
network = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
linear = [network[1].weight, network[1].bias, network[3].weight, network[3].bias]
with torch.no_grad():
    for theirs, ours in zip(linear, start()):
        theirs.copy_(ours)
print(manualgrad.swap(network))
print(manualgrad.fuse(network))

optimizer = manualgrad.optim.SGD(network.parameters(), lr=0.1)
parameters, largest = start(), 0.0
for k in range(100):
    images, labels = few.images[50 * k : 50 * k + 50], few.labels[50 * k : 50 * k + 50]
    loss = nn.functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    mine, parameters = train_step(parameters, images.reshape(50, 784), labels, 0.1)
    largest = max(largest, abs(mine - loss.item()))
print(f"over 100 steps the losses differ by at most {largest:.1e}")
assert largest < 1e-3

# %% [markdown]
# The differences are rounding: float32 has about seven digits, and the sums are taken in another order.
#
# Now what is kept in memory between forward and backward, for a batch of 100 digits, without the
# parameters; and the most that forward holds at a time.

# %%
from manualgrad.bench.measure import peak_bytes, saved_bytes

pixels = few.images[:100].reshape(100, 784).clone()
weights = [w.requires_grad_() for w in start()]
torchs = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
contenders = {
    "torch.nn": (lambda: torchs(pixels), list(torchs.parameters())),
    "the library, fused": (lambda: network(pixels), list(network.parameters())),
    "yours": (lambda: MLP.apply(pixels, *weights), weights),
}
for name, (call, owned) in contenders.items():
    call()
    kept, most = saved_bytes(call, owned), peak_bytes(call)
    print(f"{name:19} keeps {kept:,} bytes, holds up to {most:,} more in forward")

# %% [markdown]
# The digits take $100 \cdot 784 \cdot 4 = 313{,}600$ bytes and $h$ takes
# $100 \cdot 256 \cdot 4 = 102{,}400$. The library keeps both, as torch does, and computes $h$ only once.
# Fused, $v$ is never written to memory where there is a kernel for it: half as much is held in forward.
# Yours keeps the digits alone and computes $h$ again. Neither is better: computing again to save memory is
# called **checkpointing**, and in a network of many layers, where the $h$ of all of them have to be kept at
# a time, people pay that price.
#
# Three more things that the pages do and we did not:
#
# - **They compute only what is asked for.** `ctx.needs_input_grad` says which inputs need a gradient. We
#   computed $\partial L/\partial x = D W_1$ in each step, for nobody, and that product is as large as the
#   first layer's forward. The library leaves it out, and then does not save $W_1$ either.
# - **They take any number of axes.** A linear layer works on the last axis of a tensor, whatever stands
#   before it.
# - **The update is in place.** `w.add_(d, alpha=-lr)` writes into $w$ instead of making a new tensor. And
#   $d$ need not be the gradient: with momentum it is a running sum of gradients, which averages out the
#   zigzag that you saw in the valley. The page is [`manualgrad/optim.py`](../manualgrad/optim.py).
#
# ## The question behind
#
# That networks can be trained like this was not obvious. Rumelhart, Hinton and Williams (1986, *Nature*
# 323, doi:10.1038/323533a0) showed that hidden neurons come to stand for something useful, though nobody
# says what. Before, Cybenko (1989, doi:10.1007/BF02551274) and others proved that one hidden layer can come
# as close as you like to any continuous function, if it is wide enough. This says nothing about whether
# gradient descent finds the weights.
#
# And the learning rate? By the parabola, $\alpha$ must be below $2/a_\text{max}$, with the largest
# curvature of the loss. So one would choose $\alpha$ to fit the curvature. Cohen, Kaur, Li, Kolter and
# Talwalkar (2021, arXiv:2103.00065) measured it during training, and found the opposite: the curvature
# comes to fit $\alpha$. It rises until it is about $2/\alpha$, and there it stays, while the loss jumps up
# and down a little and still falls. They call it the **edge of stability**.
#
# You can see it with your own network. The curvature in a direction $u$ is how fast the gradient changes
# when one moves along $u$: a derivative of your backward. This is what the row "double gradient" of the
# report was good for. To find the largest, start with any $u$, take the change of the gradient along $u$ as
# the new $u$, and again: the direction of largest curvature grows fastest (this is called power iteration).
# As in the paper, we use all digits in each step, here 500, and the squared error of the first example.


# %%
def squared(z, labels):
    return ((z - nn.functional.one_hot(labels, 10)) ** 2).sum() / (2 * len(z))


def length(vectors):
    return sum((u * u).sum() for u in vectors).sqrt()


def largest_curvature(parameters, images, labels, rounds=12):
    leaves = [w.detach().requires_grad_() for w in parameters]
    loss = squared(MLP.apply(images, *leaves), labels)
    grads = torch.autograd.grad(loss, leaves, create_graph=True)
    generator = torch.Generator().manual_seed(1)
    u = [torch.randn(w.shape, generator=generator) for w in leaves]
    for _ in range(rounds):
        size = length(u)
        u = torch.autograd.grad(grads, leaves, [part / size for part in u], retain_graph=True)
    return length(u).item()


def descend(lr, steps=400):
    images, labels = few.images[:500].reshape(500, 784), few.labels[:500]
    parameters, losses, curvatures = [w / 2 for w in start(hidden=32)], [], []
    for k in range(steps):
        if k % 10 == 0:
            curvatures.append(largest_curvature(parameters, images, labels))
        z, notes = forward(images, parameters)
        losses.append(squared(z, labels).item())
        grads = backward(notes, (z - nn.functional.one_hot(labels, 10)) / 500)
        parameters = [w - lr * g for w, g in zip(parameters, grads)]
    return losses, curvatures


walked = {lr: descend(lr) for lr in (0.02, 0.06, 0.1)}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3))
for (lr, (losses, curvatures)), color in zip(walked.items(), (lesson.BLUE, lesson.GREEN, lesson.RED)):
    left.plot(losses, color=color, label=rf"$\alpha$ = {lr}", lw=1.2)
    right.plot(range(0, len(losses), 10), curvatures, "o-", color=color, ms=3)
    right.axhline(2 / lr, color=color, ls="--", lw=1)
    right.text(412, 2 / lr + 1.5, rf"2/$\alpha$ = {2 / lr:.0f}", color=color, size=9)
    late = sum(curvatures[-10:]) / 10
    print(
        f"learning rate {lr}: 2/α = {2 / lr:.1f}; curvature at first {curvatures[0]:.0f}, at last {late:.1f}"
    )
left.set(yscale="log", xlabel="step", ylabel="squared error", title="The loss")
left.legend()
right.set(xlim=(-15, 520), ylim=(0, 125), xlabel="step", title="The largest curvature, and $2/\\alpha$")
plt.show()

# %% [markdown]
# The network starts in a steep place, steeper than any of the limits, and the first steps throw it into a
# flatter one. From there on the curvature rises. With $\alpha = 0.02$ it goes from 40 to about 50 and does
# not come near its limit of 100. The other two rates could not live with a curvature of 50. With
# $\alpha = 0.06$ it rises above the limit of 33, is turned back, and stays at about 32; with $\alpha = 0.1$
# it stays at about 22, where the limit is 20. Nobody told the network to look for such places. A step that
# is too long for a steep valley leaves it, until it is in one that is wide enough. Why the loss falls all
# the while, and whether networks in wide valleys read new digits better, is being worked on.
#
# ## What you know now
#
# - A network's backward is the layers' backwards, one after the other, from the end to the start. Each layer
#   computes what its own weights get and what it hands down.
# - Training is four lines: forward, error, backward, update. You wrote them all, and they read more than 97
#   % of the digits.
# - A mistake in a long backward lies between the last gradient that is right and the first that is wrong.
# - On a parabola with curvature $a$, each step multiplies the distance by $1 - \alpha a$. It converges if
#   $\alpha < 2/a$. The steepest direction sets the limit, the flattest sets the time.
# - Rates are tried by factors. Too small crawls; too large overshoots and may kill neurons for good.
#
# Two more exercises, without solution:
#
# 1. Add a hidden layer: 784-256-128-10, seven inputs of one Function. Let `check` judge it before you train
#    it.
# 2. Momentum: keep a list $m$ of tensors, at first 0, update $m \leftarrow 0.9\,m + g$ and then
#    $w \leftarrow w - \alpha m$. Draw its walk in the valley of this lesson. Which $\alpha$ still converges?
#
# Next: [lesson 6](06_convolution.ipynb), convolution, where one small set of weights is used at every place
# of the image.
