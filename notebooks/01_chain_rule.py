# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 1. The chain rule, forward and backward: which weight is responsible?
#
# A network has made an error. Which of its weights is responsible, and how much? At the end of this lesson
# you can answer that for any graph of small steps: first on paper, with five steps and two weights, then with
# two steps that you have written yourself, in a network of 785 weights that learns to tell the digit 0 from
# the digit 1.
#
# Needs: Python, a little `torch` (tensors as in NumPy), and the derivatives of school: of $x^2$, of a
# product, of a quotient, and of a function inside a function. Nothing about neural networks. Time: about 45
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
import time

import lesson
import matplotlib.pyplot as plt
import torch

from manualgrad import check

lesson.style()

# %% [markdown]
# ## The idea
#
# Here is a network small enough to hold in the mind. It gets a number $x$ and shall answer with a number $t$,
# the *target*. It has two *weights*, $w_1$ and $w_2$: numbers that we may change, while $x$ and $t$ are
# given. It computes in five steps, and we call each step a *node*:
#
# | node | computes | in words |
# |---|---|---|
# | 1 | $a = w_1 x$ | weigh the input |
# | 2 | $h = \tanh a$ | bend it: large numbers go towards 1, small ones towards −1 |
# | 3 | $y = w_2 h$ | weigh again; $y$ is the answer |
# | 4 | $e = y - t$ | how far the answer is from the target |
# | 5 | $L = e^2$ | the error: never negative, and 0 only for the right answer |
#
# To compute from $x$ to $L$ is the *forward pass*. $L$ is called the *loss*. To learn is to change $w_1$ and
# $w_2$ so that $L$ becomes smaller.
#
# For that we ask of each weight: if it were a little larger, and all else the same, by how much would $L$
# grow? This number is the derivative of $L$ by the weight. We call it the weight's *gradient*, or its share
# of the blame:
#
# - a large positive gradient says: this weight is too large, and it matters;
# - a negative one says: this weight is too small;
# - a gradient near zero says: it was not this weight.
#
# The graph answers for all weights in one sweep from right to left, the *backward pass*. It starts with the
# loss, whose share of the blame is 1. Each node hands the blame that arrives from its right on to its inputs,
# and multiplies it by how strongly it reacts to each of them. No node needs to know the network. That is all
# there is to backpropagation.
#
# The next cell draws it, for $x = 2$, $w_1 = 0.5$, $w_2 = 2$, $t = 1$. Blue, above an edge: the value that
# goes forward. Orange, below it: the gradient that comes back. (Where an arrow points down, blue is to its
# left and orange to its right.)


# %%
def draw_graph(values, gradients):
    """The five nodes; ``values`` and ``gradients`` are dictionaries with a number for each letter."""
    figure, axis = plt.subplots(figsize=(10, 3.1))
    for k, operation in enumerate(["×", "tanh", "×", "−", "square"]):
        x = 2 * (k + 1)
        axis.add_patch(plt.Circle((x, 0), 0.42, facecolor="#eeeeee", edgecolor="black"))
        axis.text(x, 0, operation, ha="center", va="center", fontsize=10)
        axis.text(x, -0.62, f"node {k + 1}", ha="center", va="top", fontsize=8, color=lesson.GREY)
    for k, letter in enumerate(["x", "a", "h", "y", "e", "L"]):  # along the row
        left, right = 2 * k + (0.55 if k == 0 else 0.42), 2 * k + 1.58
        axis.annotate("", (right, 0), (left, 0), arrowprops={"arrowstyle": "->"})
        middle = (left + right) / 2
        above = f"${letter}$ = {values[letter]:.4g}"
        axis.text(middle, 0.12, above, ha="center", va="bottom", color=lesson.BLUE)
        axis.text(middle, -0.14, f"{gradients[letter]:.4g}", ha="center", va="top", color=lesson.ORANGE)
    for letter, x in (("w_1", 2), ("w_2", 6), ("t", 8)):  # from above
        axis.annotate("", (x, 0.42), (x, 1.35), arrowprops={"arrowstyle": "->"})
        above = f"${letter}$ = {values[letter]:.4g}"
        axis.text(x - 0.08, 1.0, above, ha="right", va="center", color=lesson.BLUE)
        right = f"{gradients[letter]:.4g}".replace("-", "−")
        axis.text(x + 0.08, 1.0, right, ha="left", va="center", color=lesson.ORANGE)
    axis.set(xlim=(-0.2, 12.2), ylim=(-0.95, 1.4), aspect="equal")
    axis.axis("off")
    plt.show()


values = {"x": 2, "w_1": 0.5, "w_2": 2, "t": 1}
values["a"] = values["w_1"] * values["x"]
values["h"] = math.tanh(values["a"])
values["y"] = values["w_2"] * values["h"]
values["e"] = values["y"] - values["t"]
values["L"] = values["e"] ** 2

gradients = {"L": 1}
gradients["e"] = gradients["L"] * 2 * values["e"]
gradients["y"], gradients["t"] = gradients["e"], -gradients["e"]
gradients["w_2"], gradients["h"] = gradients["y"] * values["h"], gradients["y"] * values["w_2"]
gradients["a"] = gradients["h"] * (1 - values["h"] ** 2)
gradients["w_1"], gradients["x"] = gradients["a"] * values["x"], gradients["a"] * values["w_1"]
draw_graph(values, gradients)

# %% [markdown]
# The answer is 1.523 and should be 1. Weight $w_1$ has the gradient 1.758 and $w_2$ has 0.7969: both are too
# large, and $w_1$ is the more responsible one. Where do these numbers come from?
#
# ## By hand
#
# Take a pocket calculator, and follow. We write down four digits behind the point; keep all of them in the
# calculator.
#
# **Forward**, from left to right:
#
# $$a = 0.5 \cdot 2 = 1, \quad h = \tanh 1 = 0.7616, \quad y = 2 \cdot 0.7616 = 1.5232, \quad
# e = 1.5232 - 1 = 0.5232, \quad L = 0.5232^2 = 0.2737$$
#
# **Backward**, from right to left. We write $\partial L/\partial y$ for the derivative of $L$ by $y$; the
# round $\partial$ says that other letters are there, and are held fixed.
#
# - $L$ itself: if $L$ grows by a little, $L$ grows by as much. $\partial L/\partial L = 1$.
# - Node 5, $L = e^2$. The derivative of a square is $2e = 1.0464$. So
#   $\partial L/\partial e = 1 \cdot 1.0464 = 1.0464$.
# - Node 4, $e = y - t$. If $y$ grows by a little, $e$ grows by as much; if $t$ grows, $e$ shrinks by as much.
#   So $\partial L/\partial y = 1.0464 \cdot 1$, and $\partial L/\partial t = 1.0464 \cdot (-1)$.
# - Node 3, $y = w_2 h$. If $w_2$ grows by a little, $y$ grows by $h$ times as much; and the other way round.
#   So $\partial L/\partial w_2 = 1.0464 \cdot 0.7616 = 0.7969$, and
#   $\partial L/\partial h = 1.0464 \cdot 2 = 2.0928$.
# - Node 2, $h = \tanh a$. Its derivative is $1 - h^2 = 1 - 0.7616^2 = 0.4200$ (the derivation is below). So
#   $\partial L/\partial a = 2.0928 \cdot 0.4200 = 0.8789$.
# - Node 1, $a = w_1 x$. So $\partial L/\partial w_1 = 0.8789 \cdot 2 = 1.7578$, and
#   $\partial L/\partial x = 0.8789 \cdot 0.5 = 0.4395$.
#
# Each line has the same form: *what arrives* times *the derivative of this node*. A product hands the blame
# on crosswise: that of $w_2$ is multiplied by $h$, and that of $h$ by $w_2$. And each node uses numbers from
# the forward pass ($h$, $w_2$, $x$, ...): they had to be kept.
#
# **Update.** Each weight takes a step against its gradient. The length of the step is set by the *learning
# rate*, a small number $\alpha$; here $\alpha = 0.1$:
#
# $$w_1 \leftarrow w_1 - \alpha \frac{\partial L}{\partial w_1} = 0.5 - 0.1758 = 0.3242, \qquad
# w_2 \leftarrow w_2 - \alpha \frac{\partial L}{\partial w_2} = 2 - 0.0797 = 1.9203$$
#
# The next cell confirms the numbers, and computes the loss with the new weights.


# %%
def loss_of(w1, w2, x=2.0, t=1.0):
    return (w2 * math.tanh(w1 * x) - t) ** 2


by_hand = {"L": 0.2737, "e": 1.0464, "w_2": 0.7969, "h": 2.0928, "a": 0.8789, "w_1": 1.7578, "x": 0.4395}
assert abs(loss_of(0.5, 2) - by_hand.pop("L")) <= 5e-5
for letter, number in by_hand.items():
    assert abs(gradients[letter] - number) <= 5e-5, letter

alpha = 0.1
w1, w2 = 0.5 - alpha * gradients["w_1"], 2 - alpha * gradients["w_2"]
print(f"before: w1 = 0.5000, w2 = 2.0000, loss {loss_of(0.5, 2):.4f}")
print(f"after:  w1 = {w1:.4f}, w2 = {w2:.4f}, loss {loss_of(w1, w2):.4f}")

# %% [markdown]
# One step, and of the loss a thirtieth is left. Forward, error, backward, update: networks of a billion
# weights learn by repeating these four.

# %% [markdown]
# ## The derivation
#
# ### One path
#
# School's chain rule says: if $L$ depends on $u$, and $u$ on $w$, then
#
# $$\frac{dL}{dw} = \frac{dL}{du} \cdot \frac{du}{dw}.$$
#
# From $w_1$ to $L$ there is one path in our graph, through $a, h, y, e$. We apply the rule four times:
#
# $$\frac{\partial L}{\partial w_1} =
# \frac{\partial L}{\partial e} \cdot \frac{\partial e}{\partial y} \cdot \frac{\partial y}{\partial h} \cdot
# \frac{\partial h}{\partial a} \cdot \frac{\partial a}{\partial w_1}
# = 2e \cdot 1 \cdot w_2 \cdot (1 - h^2) \cdot x.$$
#
# Each factor belongs to one node, and can be computed there. The order in which we multiply is free, and we
# choose: from the left. For then the first factors are shared: $\partial L/\partial w_2 = 2e \cdot 1 \cdot h$
# begins with the same two. What has been multiplied so far, when we arrive at $y$, is
# $\partial L/\partial y$. Torch calls it `grad_y`, or, seen from the node whose output $y$ is, `grad_output`.
#
# ### Several paths
#
# A number may be used twice. Let $w$ reach $L$ through $u$ and through $v$. If $w$ grows by a little
# $\delta$, then $u$ grows by $\delta \, du/dw$, which changes $L$ by
# $\delta \, du/dw \cdot \partial L/\partial u$; and $v$ changes $L$ likewise. For small $\delta$ the two
# changes add:
#
# $$\frac{dL}{dw} = \frac{\partial L}{\partial u} \cdot \frac{du}{dw}
# + \frac{\partial L}{\partial v} \cdot \frac{dv}{dw}.$$
#
# The product rule is a case of it: for $L = uv$ we have $\partial L/\partial u = v$ and
# $\partial L/\partial v = u$, and so $dL/dw = v \, u' + u \, v'$. Remember it as: *what is used several times
# is blamed by each use, and the blames add.*
#
# ### The derivative of tanh
#
# The hyperbolic tangent is $h = \tanh a = s/c$ with $s = e^{a} - e^{-a}$ and $c = e^{a} + e^{-a}$ (in this
# paragraph $e$ is Euler's number). Differentiating the exponentials gives $s' = c$ and $c' = s$. With the
# quotient rule,
#
# $$\frac{dh}{da} = \frac{s' c - s c'}{c^2} = \frac{c^2 - s^2}{c^2}
# = 1 - \left(\frac{s}{c}\right)^2 = 1 - h^2 .$$
#
# So the derivative can be had from the *output* $h$ alone.
#
# ### Nodes of many numbers
#
# In a real network a node takes a tensor with elements $u_1, \dots, u_n$ and gives a tensor with elements
# $y_1, \dots, y_m$. The loss $L$ stays one number. Each $u_j$ may reach $L$ through every $y_i$, so there are
# $m$ paths, and their blames add:
#
# $$\frac{\partial L}{\partial u_j}
# = \sum_{i=1}^{m} \frac{\partial L}{\partial y_i} \cdot \frac{\partial y_i}{\partial u_j}
# = \sum_{i=1}^{m} g_i \, J_{ij} .$$
#
# Here $g_i = \partial L/\partial y_i$ is what arrives: a gradient has the same shape as the tensor it belongs
# to. The table of numbers $J_{ij} = \partial y_i/\partial u_j$ is called the node's *Jacobian*, and the sum
# is a vector times a matrix, $g^\mathsf{T} J$: a *vector-Jacobian product*. That is the whole task of a
# backward: given $g$, return $g^\mathsf{T} J$. It need not write $J$ down. For tanh, element by element,
# $\partial y_i/\partial u_j$ is $1 - y_i^2$ for $i = j$ and else 0; all that remains of the sum is
# $g_j (1 - y_j^2)$.
#
# ### Why backward?
#
# Let $K$ nodes follow each other, each with $n$ inputs and $n$ outputs, and after them the loss. The gradient
# by the first inputs is
#
# $$g^\mathsf{T} J_K \, J_{K-1} \cdots J_2 \, J_1 .$$
#
# From the left, this is always a vector times a matrix: $n^2$ multiplications for each node, $K n^2$ in all.
# From the right, it begins with a matrix times a matrix, $n^3$ multiplications each. For $n = 1000$ and
# $K = 5$: five million from the left, about four billion from the right.
#
# The other order has a meaning, too. It is to push one weight a little, and to follow the change forward: one
# pass for *each weight*. Backward, one pass answers for *all weights*, because there is one loss at the end.
# You will measure it below.

# %% [markdown]
# ## Your turn
#
# ### A node, as torch wants it
#
# Torch walks the graph backward for you, if it knows the derivative of each node. A new node is taught to it
# by a `torch.autograd.Function`, a class with three static methods (functions that need no `self`). Here is
# node 5 in full. The cell squares two errors at once. `backward()` starts at one number, the loss, so we take
# the sum of the two squares: then each of them is blamed with 1.


# %%
class SquareFunction(torch.autograd.Function):
    """y = x², element by element."""

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        (x,) = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        grad_x = grad_y * 2 * x
        return grad_x


e = torch.tensor([0.5, 3.0], requires_grad=True)  # requires_grad: we want the gradient of e
squares = SquareFunction.apply(e)  # not SquareFunction(e), nor .forward(e)
squares.sum().backward()  # puts the gradient into e.grad
print("the squares:   ", squares.tolist())
print("their gradient:", e.grad.tolist())

# %% [markdown]
# - `forward` computes the output from the inputs, as any function.
# - `setup_context` is called right after it, with the inputs (always a tuple) and the output. It keeps for
#   later what the backward will need. `ctx`, the *context*, is an object that lives from this forward to its
#   backward. Tensors are kept by `ctx.save_for_backward`, and only there.
# - `backward` is called when the blame arrives. `grad_y` is the $g$ of the derivation: a tensor with the
#   shape of the output. It takes out what was kept, and returns a gradient for *each argument of forward, in
#   their order*, `None` for those that are no tensors of real numbers. Each has the shape of its argument.
# - `apply` runs forward and setup_context, and notes in the graph that this node is to be asked when the
#   blame comes back.
#
# ### How do you know that it is right?
#
# A wrong backward raises no error. The network trains, only worse. So every backward in these lessons is held
# against the definition of the derivative. For a small step $\varepsilon$, the slopes of the chord to the
# left and to the right are
#
# $$\frac{f(x) - f(x - \varepsilon)}{\varepsilon} \qquad\text{and}\qquad
# \frac{f(x + \varepsilon) - f(x)}{\varepsilon} ,$$
#
# the left and the right *difference quotient*. Both need only the forward. Where $f$ is smooth, they come to
# the same as $\varepsilon$ becomes small, and their mean, the *central* difference quotient, comes nearest.
# At a kink they stay apart: there is no derivative there, and any slope between the two is accepted. The next
# cell draws both cases, with an $\varepsilon$ much too large, so that one can see it; `check` takes a
# millionth.

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2))
epsilon = 0.8
cases = [
    (math.tanh, 0.6, "smooth: tanh x at x = 0.6"),
    (abs, 0.0, "a kink: |x| at x = 0"),
]
for axis, (f, x, title) in zip(axes, cases):
    line = torch.linspace(x - 1.2, x + 1.2, 101)
    axis.plot(line, [f(v) for v in line.tolist()], color="black", label="f")
    for side, colour, name in ((-1, lesson.BLUE, "left"), (1, lesson.ORANGE, "right")):
        slope = (f(x + side * epsilon) - f(x)) / (side * epsilon)
        label = f"{name}: slope {slope:.2f}".replace("-", "−")
        ends = [f(x), f(x + side * epsilon)]
        axis.plot([x, x + side * epsilon], ends, "o-", color=colour, label=label, linewidth=2)
    axis.set(title=title, xlabel="x")
    axis.legend(loc="lower right" if f is math.tanh else "upper center")
plt.show()

for epsilon in (0.8, 0.08, 0.008):
    right = (math.tanh(0.6 + epsilon) - math.tanh(0.6)) / epsilon
    left = (math.tanh(0.6) - math.tanh(0.6 - epsilon)) / epsilon
    print(f"tanh, ε = {epsilon}: left {left:.5f}, right {right:.5f}, mean {(left + right) / 2:.5f}")
print(f"its derivative at 0.6:                       {1 - math.tanh(0.6) ** 2:.5f}")

# %% [markdown]
# `check` does that for every element of every input (a sample of them, if there are many), in double
# precision. A node with many outputs is made into one number first: the outputs are weighed with random
# numbers and summed. So `grad_y` is random, too, and no backward that ignores it comes through. Here is the
# report for the square:

# %%
check(SquareFunction, torch.tensor([0.5, 3.0, -1.0]))

# %% [markdown]
# Each row is a property that a right backward has. The one that matters now is `gradient`. The others look
# for mistakes that show only later, in larger networks:
#
# | row | what is asked |
# |---|---|
# | parity | do outputs and gradients agree with another implementation? "-": none to compare with |
# | gradient | does backward agree with the difference quotients? |
# | double gradient | may backward itself be differentiated? (some methods need the gradient of a gradient) |
# | batched gradient | can backward take many `grad_y` at once? (`torch.func.vmap`) |
# | dtypes and shapes | has each gradient the shape and the kind of numbers of its input? |
# | layouts | is it right, however the numbers lie in memory? and is `grad_y` only read, never written to? |
# | partial gradients | is it right, if only some of the inputs ask for a gradient? |
#
# | ties | is it right where several elements are equal, so that more than one is the largest? |
# | tiny probabilities | is it right for inputs close to 0, if all of them lie between 0 and 1? |
# | half precision | is it right up to rounding, if numbers have 16 bits? |
#
# "ok" is passed, "FAIL" is failed, and "-" means that the row does not apply, or cannot be judged yet. A
# backward built of `*`, `+`, `-` and the saved tensors, without writing into any of them, passes nearly all
# of them once its `gradient` is right. So look there first.
#
# ### A mistake on purpose
#
# The most common mistake of all is to know the derivative and to forget the chain rule:


# %%
class WrongSquare(SquareFunction):
    """As above, but the blame that arrives is not passed on."""

    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        return 2 * x


check(WrongSquare, torch.tensor([0.5, 3.0, -1.0]))

# %% [markdown]
# The row `gradient` names the argument, the place of the largest error, what the difference quotients gave
# (expected) and what backward gave (got): at `[1]`, where $x = 3$, backward gave $2x = 6$, and right is 6
# times the random number that arrived. Behind the arrow stands which mistake it is, if it is one that `check`
# knows by name, and below it what to do. "Upstream" is what lies nearer to the loss: the upstream gradient is
# `grad_output`, our `grad_y`. The last three rows wait until the gradient is right.
#
# Note that this mistake is invisible if the square is the last node, where `grad_y` is 1. It would show in a
# network in which something follows.
#
# Try other mistakes in the cell above. Leave out the 2, and the report finds the constant factor 1/2. Forget
# the `return`: in Python that is to return `None`, and so the report calls it. Not every mistake has a name.
# Then the numbers alone must help: divide what you got by what was expected, for instance.
#
# The exercises begin with a backward that raises `NotImplementedError`. The report calls it "not written".
#
# ### Exercise 1: the product
#
# Nodes 1 and 3. The product of two tensors of the same shape, element by element: $y_i = u_i v_i$. Forward
# and setup_context are given; write backward. You have done it by hand.


# %% tags=["exercise"]
class ProductFunction(torch.autograd.Function):
    """y = u v, element by element."""

    @staticmethod
    def forward(u, v):
        return u * v

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, v = inputs
        ctx.save_for_backward(u, v)

    @staticmethod
    def backward(ctx, grad_y):
        u, v = ctx.saved_tensors
        # Your code: two gradients, in the order of forward's arguments.
        raise NotImplementedError("grad_u = ?  grad_v = ?")


# %% [markdown]
# Replace the line with `raise` in the cell above, run it, then run the next one. As long as the hole is
# there, the report says "not written", and all other rows wait.

# %% tags=["check"]
torch.manual_seed(0)
u, v = torch.randn(3, 4), torch.randn(3, 4)
check(ProductFunction, u, v)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Look at node 3 in the picture. 1.046 arrives. What goes to $w_2$, what to $h$, and by which numbers was
# 1.046 multiplied?
#
# </details>
# <details><summary>Hint 2</summary>
#
# $\partial y_i/\partial u_i = v_i$. So $\partial L/\partial u_i = g_i v_i$, where $g$ is `grad_y`. And
# $\partial L/\partial v_i$?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `grad_u = grad_y * v`. Then `grad_v`, and at the end `return grad_u, grad_v`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class ProductSolution(torch.autograd.Function):
    """The product, element by element.

    Forward    y_i = u_i v_i
    Backward   g = ∂L/∂y.   ∂L/∂u_i = g_i v_i     ∂L/∂v_i = g_i u_i
    Saves      u and v: each is the other's derivative
    """

    @staticmethod
    def forward(u, v):
        return u * v

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, v = inputs
        ctx.save_for_backward(u, v)

    @staticmethod
    def backward(ctx, grad_y):
        u, v = ctx.saved_tensors
        grad_u = grad_y * v
        grad_v = grad_y * u
        return grad_u, grad_v


# %% [markdown]
# The next cell chooses: your node, if it passes, and else the solution, so that you can read on in either
# case.

# %% tags=["choose"]
Product = lesson.choose(ProductFunction, ProductSolution, u, v)

# %% [markdown]
# ### Exercise 2: the hyperbolic tangent
#
# Node 2. Note what setup_context keeps this time: not the input, but the *output*. That is allowed, and here
# it is clever: the derivation shows why it suffices.


# %% tags=["exercise"]
class TanhFunction(torch.autograd.Function):
    """y = tanh x, element by element."""

    @staticmethod
    def forward(x):
        return torch.tanh(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y):
        (y,) = ctx.saved_tensors
        # Your code: one gradient.
        raise NotImplementedError("grad_x = ?")


# %% tags=["check"]
torch.manual_seed(1)
x = torch.randn(3, 4)
check(TanhFunction, x)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# It has the form of every backward of a function of one number: what arrives, times the derivative.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The derivative of tanh is 1 minus the square of its output. `y` is the output.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `return grad_y * (...)`, and between the brackets there is no call of `torch.tanh`: the tanh has been taken
# already.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class TanhSolution(torch.autograd.Function):
    """The hyperbolic tangent, element by element.

    Forward    y = tanh x
    Backward   ∂L/∂x = g (1 − y²)
    Saves      y
    """

    @staticmethod
    def forward(x):
        return torch.tanh(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y):
        (y,) = ctx.saved_tensors
        grad_x = grad_y * (1 - y * y)
        return grad_x


# %% tags=["choose"]
Tanh = lesson.choose(TanhFunction, TanhSolution, x)

# %% [markdown]
# ### The five nodes, with yours among them
#
# The graph of the beginning, once more. Now torch walks it backward, and asks your nodes on the way. We want
# the gradients of $w_1$ and $w_2$ only, and say so with `requires_grad=True`.

# %%
x, t = torch.tensor(2.0), torch.tensor(1.0)
w1 = torch.tensor(0.5, requires_grad=True)
w2 = torch.tensor(2.0, requires_grad=True)

a = Product.apply(w1, x)
h = Tanh.apply(a)
y = Product.apply(w2, h)
L = SquareFunction.apply(y - t)  # the subtraction we leave to torch
L.backward()

print(f"loss {L.item():.4f}, gradient of w1 {w1.grad.item():.4f}, of w2 {w2.grad.item():.4f}")
assert abs(w1.grad.item() - 1.7578) < 1e-4
assert abs(w2.grad.item() - 0.7969) < 1e-4

# %% [markdown]
# These are the numbers from paper.
#
# And what is used twice? With your product, $w \cdot w$ is a square. Each of its two inputs is blamed with
# $w$, and torch adds the blames, as derived above: the gradient should be $2w$.

# %%
w = torch.tensor(3.0, requires_grad=True)
Product.apply(w, w).backward()
print("gradient of w·w at w = 3:", w.grad.item())

# %% [markdown]
# ## On MNIST
#
# MNIST is a collection of handwritten digits, pictures of 28 × 28 pixels. We take the zeros and the ones
# among its first 10,000 digits to learn from, and those among 2,000 others to test with. The target is
# $t = +1$ for a one and $t = -1$ for a zero.

# %%
train_all, test_all = lesson.digits(train=10_000, test=2_000)


def zeros_and_ones(digits):
    """Those two digits alone, each picture as a row of 784 numbers."""
    rows = digits.labels < 2
    return lesson.Digits(digits.images[rows].reshape(-1, 784), digits.labels[rows])


train, test = zeros_and_ones(train_all), zeros_and_ones(test_all)
print(f"{len(train)} digits to learn from, {len(test)} to test with")
lesson.show_digits(
    train.images[:8].reshape(-1, 28, 28), ["t = +1" if k else "t = −1" for k in train.labels[:8].tolist()]
)

# %% [markdown]
# The network is that of five nodes, except that $w_1$ has 784 elements now, one for each pixel, and the
# products of pixels and weights are summed: $a = \sum_i w_{1,i} \, x_i$. With $w_2$ that makes 785 weights.
#
# A *batch* of digits, many at once, is computed together. `expand_as` lays the same weights beside every
# digit of the batch. They are used many times, so the blames of all digits add; torch sees to this sum, and
# lesson 2 derives it.


# %%
def answer(w1, w2, images):
    """y for each of the images (N, 784)."""
    a = Product.apply(images, w1.expand_as(images)).sum(1)
    h = Tanh.apply(a)
    return Product.apply(w2.expand_as(h), h)


def loss_of(w1, w2, images, labels):
    """The squared error, averaged over the images."""
    t = 2.0 * labels - 1
    return SquareFunction.apply(answer(w1, w2, images) - t).mean()


torch.manual_seed(0)
w1 = (0.001 * torch.randn(784)).requires_grad_()
w2 = torch.tensor(0.5, requires_grad=True)
loss = loss_of(w1, w2, train.images, train.labels)
loss.backward()
print(f"loss of the untrained network: {loss.item():.3f}")

# %% [markdown]
# ### Which weight is responsible?
#
# The gradient of $w_1$ has a number for each pixel, so it is a picture: that of the blame, before anything
# was learned. In red are the pixels whose weights are too small, as their gradient is negative; in blue those
# whose weights are too large.


# %%
def show_weights(axis, picture, title):
    """A picture of 784 numbers: blue where they are positive, red where they are negative."""
    bound = picture.abs().max()
    shown = axis.imshow(picture.reshape(28, 28), cmap="RdBu", vmin=-bound, vmax=bound)
    axis.set_title(title)
    axis.axis("off")
    axis.figure.colorbar(shown, ax=axis)


figure, axis = plt.subplots(figsize=(3.6, 2.8))
show_weights(axis, w1.grad, "gradient of $w_1$, untrained")
plt.show()

# %% [markdown]
# A one has ink in the middle, and a zero around it. Since a step goes *against* the gradient, the weights in
# the middle will grow, and those of the ring will shrink.
#
# ### One pass, or two for each weight
#
# We can measure what the derivation claimed: one backward pass, against pushing each weight on its own. A
# push up and a push down take two forward passes *for each weight*, and give its gradient as a central
# difference quotient.

# %%
images, labels = train.images[:100], train.labels[:100]
w1_64, w2_64 = w1.detach().double(), w2.detach().double()  # double precision, for small differences
images_64 = images.double()

backward_seconds = math.inf
for _ in range(5):  # the shortest of five counts
    start = time.perf_counter()
    w = w1_64.clone().requires_grad_()
    loss_of(w, w2_64, images_64, labels).backward()
    backward_seconds = min(backward_seconds, time.perf_counter() - start)

start = time.perf_counter()
quotients = torch.zeros(784, dtype=torch.float64)
for i in range(784):
    step = torch.zeros(784, dtype=torch.float64)
    step[i] = 1e-6
    up = loss_of(w1_64 + step, w2_64, images_64, labels)
    down = loss_of(w1_64 - step, w2_64, images_64, labels)
    quotients[i] = (up - down) / 2e-6
quotient_seconds = time.perf_counter() - start

print(f"largest difference between the two: {(w.grad - quotients).abs().max().item():.0e}")
print("one forward and one backward pass, or", 2 * 784, "forward passes")
print(f"the latter took {quotient_seconds / backward_seconds:.0f} times as long here")

# %% [markdown]
# The two agree. But the difference quotients need two passes for each weight. With a million weights, each
# step of learning would take two million passes, instead of one forward and one backward.
#
# ### Learning
#
# The loop of the textbook, without any helper: forward, error, backward, update.

# %%
alpha, losses = 0.01, []
generator = torch.Generator().manual_seed(0)
w1.grad = w2.grad = None
for _ in range(3):  # epochs: once through all digits is one
    for images, labels in train.batches(32, generator):
        loss = loss_of(w1, w2, images, labels)  # forward, error
        loss.backward()  # backward: fills w1.grad and w2.grad
        with torch.no_grad():  # update: this is not to become part of the graph
            w1 -= alpha * w1.grad
            w2 -= alpha * w2.grad
        w1.grad = w2.grad = None  # torch adds to what is there, so we clear it
        losses.append(loss.item())

with torch.no_grad():
    correct = (answer(w1, w2, test.images) > 0) == (test.labels == 1)
print(f"right on {100 * correct.float().mean().item():.1f} % of {len(test)} test digits")
print(f"w2 is now {w2.item():.2f}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3), width_ratios=[2, 1])
axes[0].plot(losses, color=lesson.BLUE)
axes[0].set(title="squared error at each step", xlabel="step", ylabel="loss", ylim=(0, None))
show_weights(axes[1], w1.detach(), "the weights $w_1$")
plt.show()

# %% [markdown]
# Zeros and ones are the easiest pair of digits, and the 409 test digits are all, or nearly all, read rightly.
# The weights say why: ink in the middle speaks for a one, ink beside it for a zero. No one has told the
# network; the blame has.
#
# ## What the library does
#
# ### Who calls backward?
#
# While it computes forward, torch writes down what was done, as a graph of its own: each tensor that comes
# from a node refers to it as `grad_fn`, and each node refers to the nodes before it. This record is often
# called the *tape*. `L.backward()` walks it from the end, each node after all those that use its output, and
# calls its backward with the sum of the blames that arrived. Let us read the tape of the five nodes from the
# loss to $w_1$.

# %%
w = torch.tensor(0.5, requires_grad=True), torch.tensor(2.0, requires_grad=True)
h = Tanh.apply(Product.apply(w[0], torch.tensor(2.0)))
L = SquareFunction.apply(Product.apply(w[1], h) - 1.0)

node = L.grad_fn
while node is not None:
    print(type(node).__name__)
    before = [n for n, _ in node.next_functions if n is not None]
    node = before[-1] if before else None

# %% [markdown]
# The nodes are yours (or the solution's), with torch's subtraction among them. The last one,
# `AccumulateGrad`, is no computation: it adds what arrives to `w1.grad`. That is why the loop above had to
# clear `w1.grad` after each step.
#
# ### The library's own Functions
#
# All layers of manualgrad are Functions of this kind. Their base class, in `manualgrad/function.py`, adds one
# line to torch's:
#
#     class Function(torch.autograd.Function):
#         generate_vmap_rule = True
#
# With it, `torch.func.vmap` takes the Function apart and runs forward and backward for many inputs at once.
# The price is a discipline: forward, setup_context and backward must be pure functions of tensors. You have
# kept to it already. `apply`, in the same file, runs such a Function; if no input asks for a gradient, it
# runs forward alone and keeps nothing.
#
# ### Keep the input or the output?
#
# `manualgrad/layers/activation.py` has the tanh, and like your exercise it keeps the output. To keep the
# input would be as right, and as large. But look at what follows: node 3, a product, keeps $h$ anyway, for
# the gradient of $w_2$. If tanh keeps $h$, both keep the *same* tensor, which lies in memory once. We measure
# it: the bytes that are kept from forward to backward, counting each piece of memory once, in a chain of tanh
# and product.


# %%
from manualgrad.bench.measure import saved_bytes  # counts each piece of memory once


class TanhOfInput(Tanh):
    """As Tanh, but it keeps the input, and so must take the tanh again."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        y = torch.tanh(x)
        return grad_y * (1 - y * y)


a, weight = torch.zeros(1_000_000, requires_grad=True), torch.ones((), requires_grad=True)
for name, tanh in (("the input", TanhOfInput), ("the output", Tanh)):
    kept = saved_bytes(lambda: Product.apply(tanh.apply(a * 1), weight.expand(1_000_000)), ())  # noqa: B023
    print(f"tanh keeps {name}: {kept / 1e6:.1f} MB")

# %% [markdown]
# A number takes four bytes, so a million take 4 MB. What to keep is the main question in the design of a
# backward; with large networks, it decides what fits into memory. Every page of `manualgrad/layers/` has a
# line *Saves* about it.
#
# ## The question behind
#
# To find out which part of a system is responsible for its success or failure is called the *credit
# assignment problem*. The backward pass solves it for whatever can be differentiated, and that made networks
# with hidden layers learn (Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating
# errors", doi:10.1038/323533a0).
#
# Whether a brain could solve it so is open. The backward pass needs, at each node, the very weights that
# forward used ($\partial L/\partial h$ was weighed with $w_2$), and nobody knows how blame would travel back
# through the same synapses. To general surprise, networks also learn when the blame is sent back through
# *fixed random* weights instead (Lillicrap, Cownden, Tweed and Akerman 2016, "Random synaptic feedback
# weights support error backpropagation for deep learning", doi:10.1038/ncomms13276). On harder tasks, with
# larger networks, such methods have been found to fall far behind (Bartunov and others 2018, "Assessing the
# scalability of biologically-motivated deep learning algorithms and architectures", arXiv:1807.04587). You
# can try it on a small scale: see the last exercise below.
#
# ## What you know now
#
# - The gradient of a weight is its share of the blame for the loss: by how much the loss grows if the weight
#   does.
# - Backward, each node multiplies what arrives by its own derivative and hands it on: the chain rule, from
#   the left. What is used several times is blamed several times, and the blames add.
# - One backward pass answers for all weights; forward, it takes a pass for each.
# - A `torch.autograd.Function` is forward, setup_context (what to keep) and backward (given `grad_y`, a
#   gradient for each argument).
# - `check` compares a backward with difference quotients, which need the forward only.
#
# Further exercises, without solution:
#
# 1. Write the subtraction of node 4 as a Function, with two gradients, and put it into the network. What must
#    it keep?
# 2. Take fours and nines instead of zeros and ones. How many are right? Look at the weights. Then start with
#    $w_2 = 0$ and $w_1 = 0$: why does the network never learn?
# 3. Blame through a fixed number: write a second product, in whose backward `grad_v = -0.5 * grad_y`,
#    whatever $u$ is, and use it as node 3, with $w_2 = 0.5$ at the start. The blame of $w_1$ has the wrong
#    sign now. Train, and watch $w_2$. What happens?
#
# Next: [lesson 2](02_linear.ipynb), the product of a whole batch with a whole matrix of weights, in one node.
