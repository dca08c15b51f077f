# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 8. Recurrence and backpropagation through time
#
# A recurrent network reads a sequence step by step and uses the same weights at every step. At the end you
# will know how the gradient travels backwards through the steps, why the gradient of a shared weight is a sum
# over time, why gradients vanish or explode on the way, and what clipping and gates do about it.
#
# Needs: [lesson 2](02_linear.ipynb) (the gradients of $y = xW^\top + b$) and the chain rule; products of
# matrices. Time: about 60 minutes.

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

from manualgrad import check

torch.manual_seed(0)
lesson.style()

# %% [markdown]
# ## The idea
#
# A sequence is a list $x_1, x_2, \dots, x_T$: the words of a sentence, the hours of a day, the rows of a
# picture. A recurrent network keeps a **state** $h$, a vector. At every step it mixes the old state with the
# new input:
#
# $$h_t = \tanh(W x_t + U h_{t-1} + b).$$
#
# $W$ says how the input enters, $U$ how the old state is carried on, and $b$ is a bias. They have no index
# $t$: **the same three are used at every step**. So one network reads sequences of any length.
#
# Write the steps side by side and the loop is gone. What is left is an ordinary deep network, with one layer
# per step, and the layers happen to share their weights. This is called **unrolling**. The next cell draws
# it.


# %%
def unrolled(steps=4):
    figure, axis = plt.subplots(figsize=(7.6, 3.6))
    axis.set(xlim=(-0.5, steps + 0.75), ylim=(-1.35, 1.6))
    axis.axis("off")

    def arrow(start, end, colour, label, offset, bend=0.0):
        style = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "connectionstyle": f"arc3,rad={bend}"}
        axis.annotate("", end, start, arrowprops=style)
        middle = [(a + b) / 2 + o for a, b, o in zip(start, end, offset)]
        axis.text(*middle, label, color=colour, ha="center", va="center", fontsize=11)

    for t in range(steps + 1):
        box = {"boxstyle": "round,pad=0.45", "facecolor": "white", "edgecolor": "black"}
        axis.text(t, 0, f"$h_{t}$", ha="center", va="center", fontsize=13, bbox=box)
        if t > 0:
            axis.text(t, -1.2, f"$x_{t}$", ha="center", va="center", fontsize=13)
            axis.text(t, 1.4, f"loss at step {t}", ha="center", va="center", fontsize=9)
            arrow((t, -1.05), (t, -0.25), lesson.BLUE, "$W$", (0.14, 0))
            arrow((t - 0.76, -0.07), (t - 0.24, -0.07), lesson.BLUE, "$U$", (0, -0.2))
            arrow((t, 1.25), (t, 0.27), lesson.ORANGE, f"$g_{t}$", (0.16, 0))
            arrow((t - 0.22, 0.14), (t - 0.78, 0.14), lesson.ORANGE, "carry", (0, 0.24), 0.35)
    axis.set_title("Blue: forward, left to right.  Orange: gradients, right to left", fontsize=10)
    plt.show()


unrolled()

# %% [markdown]
# Follow the orange arrows. A state $h_t$ hears from the loss in two ways. One is direct: its own output may
# be used at step $t$; we write $g_t$ for that part. The other comes from the next state, because $h_t$ helped
# to make $h_{t+1}$: we call it the **carry**. Backpropagation through time is this and no more:
#
# 1. go through the steps from the last to the first, and hand the carry on;
# 2. at each step, note down what $W$, $U$ and $b$ get from it;
# 3. add these notes up, since it was one and the same $W$, $U$ and $b$ each time.
#
# ## By hand
#
# Take numbers in place of vectors, three steps, no tanh and no bias: $h_t = w x_t + u h_{t-1}$ with $w = 2$,
# $u = 0.5$, $h_0 = 0$ and the inputs $x_1, x_2, x_3 = 1, 2, -1$. The loss is the last state, $L = h_3$.
#
# **Forward.** $h_1 = 2 \cdot 1 = 2$. $\;h_2 = 2 \cdot 2 + 0.5 \cdot 2 = 5$.
# $\;h_3 = 2 \cdot (-1) + 0.5 \cdot 5 = 0.5$.
#
# **Backward.** Let $\delta_t$ be the derivative of $L$ by $h_t$. The last state is the loss: $\delta_3 = 1$.
# Before it there is only the carry, and each step back is a factor $u$: $\delta_2 = u\,\delta_3 = 0.5$ and
# $\delta_1 = u\,\delta_2 = 0.25$.
#
# | step $t$ | $\delta_t$ | to $w$: $\delta_t x_t$ | to $u$: $\delta_t h_{t-1}$ |
# |---|---|---|---|
# | 3 | 1 | $1 \cdot (-1) = -1$ | $1 \cdot 5 = 5$ |
# | 2 | 0.5 | $0.5 \cdot 2 = 1$ | $0.5 \cdot 2 = 1$ |
# | 1 | 0.25 | $0.25 \cdot 1 = 0.25$ | $0.25 \cdot 0 = 0$ |
# | **sum** | | $\mathbf{0.25}$ | $\mathbf{6}$ |
#
# School calculus can check this. Put the steps into each other: $h_3 = w x_3 + u w x_2 + u^2 w x_1$. Then
# $\frac{dL}{dw} = x_3 + u x_2 + u^2 x_1 = -1 + 1 + 0.25 = 0.25$, and
# $\frac{dL}{du} = w x_2 + 2 u w x_1 = 4 + 2 = 6$. The sums over time are right.
#
# The next cell does the same with tanh, $w = u = 0.5$, and a loss that hears every step:
# $L = h_1 + h_2 + h_3$. Two things change. Each $g_t$ is 1, so $g_t$ is added to the carry at each step. And
# the derivative of tanh is a factor: as $h = \tanh a$ has $\frac{dh}{da} = 1 - h^2$, we now follow
# $\delta_t$, the derivative of $L$ by what stands *inside* tanh. Take a pocket calculator and see if you get
# the same.

# %%
x, w, u = torch.tensor([1.0, 2.0, -1.0]), torch.tensor(0.5), torch.tensor(0.5)
h = [torch.tensor(0.0)]
for t in range(3):
    h.append(torch.tanh(w * x[t] + u * h[t]))

grad_w = grad_u = carry = torch.tensor(0.0)
for t in (3, 2, 1):
    delta = (1 + carry) * (1 - h[t] ** 2)  # all that h_t hears, times the derivative of tanh
    grad_w, grad_u = grad_w + delta * x[t - 1], grad_u + delta * h[t - 1]
    carry = u * delta
    print(f"step {t}:  h = {h[t]:7.4f}   delta = {delta:.4f}   carry to step {t - 1} = {carry:.4f}")
print(f"dL/dw = {grad_w:.4f}, dL/du = {grad_u:.4f}")

# %% [markdown]
# PyTorch's own automatic differentiation agrees. And so does the first example.


# %%
def states(w, u, x, phi):
    found = [torch.zeros_like(w)]
    for x_t in x:
        found.append(phi(w * x_t + u * found[-1]))
    return found[1:]


w, u = torch.tensor(0.5, requires_grad=True), torch.tensor(0.5, requires_grad=True)
by_torch = torch.autograd.grad(sum(states(w, u, x, torch.tanh)), (w, u))
assert torch.allclose(torch.stack(by_torch), torch.stack([grad_w, grad_u]))

w, u = torch.tensor(2.0, requires_grad=True), torch.tensor(0.5, requires_grad=True)
by_torch = torch.autograd.grad(states(w, u, x, lambda a: a)[-1], (w, u))
assert [g.item() for g in by_torch] == [0.25, 6.0]

# %% [markdown]
# ## The derivation
#
# Now with vectors. Let the input have $I$ numbers and the state $H$. Then $W$ is a matrix of shape $(H, I)$,
# $U$ of shape $(H, H)$, and $b$ has $H$ numbers. We give a name to what stands inside tanh:
#
# $$a_t = W x_t + U h_{t-1} + b, \qquad h_t = \tanh(a_t), \qquad t = 1, \dots, T.$$
#
# $L$ is the loss, a number. Three gradients have names: $g_t$ is what $L$ hears of $h_t$ **directly**, from
# outside the layer; $\eta_t$ is **all** that $L$ hears of $h_t$, on every way; and
# $\delta_t = \partial L / \partial a_t$. A second index picks out one number: $h_{t,i}$ is number $i$ of
# $h_t$.
#
# **Step 1: the state.** $h_t$ has two ways to $L$: the direct one, and through $a_{t+1}$. The chain rule adds
# them up. Number $j$ of $a_{t+1}$ is $\sum_i U_{ji} h_{t,i} + \dots$, and its derivative by $h_{t,i}$ is
# $U_{ji}$. So
#
# $$\eta_{t,i} = g_{t,i} + \sum_j \delta_{t+1,j}\, U_{ji}.$$
#
# The sum is the carry. Behind the last step there is nothing, so $\delta_{T+1} = 0$.
#
# **Step 2: tanh.** It acts on each number alone, and $\tanh' = 1 - \tanh^2$:
#
# $$\delta_{t,j} = \eta_{t,j}\,(1 - h_{t,j}^2).$$
#
# **Step 3: the shared weights.** Pretend for a moment that each step has a $W$ of its own,
# $W^{(1)}, \dots, W^{(T)}$. Then step $t$ is a linear layer, and by lesson 2 its gradient is
# $\partial L / \partial W^{(t)}_{ji} = \delta_{t,j}\, x_{t,i}$. Now let all $W^{(t)}$ be the same $W$. A
# change of $W$ changes all of them at once, and the effects of a small change add up, as in lesson 1:
#
# $$\frac{\partial L}{\partial W_{ji}} = \sum_{t=1}^{T} \delta_{t,j}\, x_{t,i}, \qquad
# \frac{\partial L}{\partial U_{ji}} = \sum_{t=1}^{T} \delta_{t,j}\, h_{t-1,i}, \qquad
# \frac{\partial L}{\partial b_j} = \sum_{t=1}^{T} \delta_{t,j}.$$
#
# You know this from school in a small case. $f(w) = w \cdot w$ uses $w$ twice; each use alone has the
# derivative $w$, and $f' = w + w$.
#
# **Step 4: the inputs.** $x_t$ has one way, through $a_t$, and $h_0$ too, through $a_1$:
#
# $$\frac{\partial L}{\partial x_{t,i}} = \sum_j \delta_{t,j}\, W_{ji}, \qquad
# \frac{\partial L}{\partial h_{0,i}} = \sum_j \delta_{1,j}\, U_{ji}.$$
#
# The gradient of $h_0$ is the carry that leaves the loop at its front end.
#
# **In code** there are $N$ sequences at once, and vectors are rows: $x$ has the shape $(T, N, I)$ and $h$ the
# shape $(T, N, H)$. Then "$\sum_j \delta_j U_{ji}$" is `delta @ U`, and the weights' sums run over $T$ and
# $N$ alike.
#
# ### Why gradients vanish or explode
#
# Suppose that the loss hears only the last state. Steps 1 and 2, put into each other $k$ times, read
#
# $$\eta_{T-k} = U^\top D_{T-k+1}\, U^\top D_{T-k+2} \cdots U^\top D_T\; g_T, \qquad
# D_t = \text{the diagonal matrix of } 1 - h_t^2.$$
#
# That is one factor $U^\top D$ for each step back. Leave the $D$ out for a moment: then it is
# $(U^\top)^k g_T$, a power. Powers of a number $r$ vanish if $|r| < 1$ and explode if $|r| > 1$. For a
# matrix, the number that decides in the long run is its **spectral radius** $r$: the largest absolute value
# among its eigenvalues (the numbers $\lambda$, perhaps complex, with $Uv = \lambda v$ for some vector
# $v \neq 0$).
#
# The next cell draws the length of $\eta_{T-k}$ for three matrices $U$ with 64 rows. Each is a random
# rotation (in torch: an orthogonal matrix) times $r$. A rotation keeps lengths, so every step back multiplies
# the length by exactly $r$ where the $D$ are left out (lines). With the $D$ (dashes), the states come from a
# random sequence.


# %%
def lengths(radius, squash, steps=40, hidden=64):
    generator = torch.Generator().manual_seed(1)
    U = radius * nn.init.orthogonal_(torch.empty(hidden, hidden), generator=generator)
    h, slopes = torch.zeros(hidden), []
    for a in 0.3 * torch.randn(steps, hidden, generator=generator):
        h = torch.tanh(a + U @ h)
        slopes.append(1 - h * h if squash else torch.ones(hidden))
    eta = torch.randn(hidden, generator=generator)
    eta, found = eta / eta.norm(), [1.0]
    for slope in reversed(slopes):
        eta = U.T @ (slope * eta)
        found.append(eta.norm().item())
    return found


for radius, colour in ((1.3, lesson.RED), (1.0, lesson.GREY), (0.5, lesson.BLUE)):
    linear, squashed = lengths(radius, squash=False), lengths(radius, squash=True)
    plt.plot(linear, color=colour, label=f"radius {radius}, linear")
    plt.plot(squashed, "--", color=colour, label=f"radius {radius}, with tanh")
    print(f"radius {radius}: after 40 steps {linear[-1]:8.1e} linear, {squashed[-1]:8.1e} with tanh")
plt.yscale("log")
plt.xlabel("k, the number of steps back from the last one")
plt.ylabel("length of the gradient")
plt.title("The gradient on its way back through 40 steps")
plt.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# The scale is logarithmic, so a straight line is a power. With radius 0.5 the loss at step 40 has practically
# no say about what happened at step 1: a gradient arrives, but it is too small to teach anything. With radius
# 1.3 and no tanh it is so large that one update throws the weights far away. The slopes of tanh are at most
# 1, so they shrink gradients. Here they hold back even the explosion. But where states are near 0 the slopes
# are near 1, and the explosion is back.
#
# ### Clipping
#
# Against gradients that explode there is a plain remedy. Take all gradients of the network as one long
# vector, of length $\ell$. If $\ell$ is larger than a limit $c$, multiply them by $c / \ell$. The direction
# stays, the length is $c$. This is **gradient clipping**. It changes no derivative: it happens after
# backward, before the update.


# %%
def clip(parameters, limit):
    """Scale all gradients, together, to a length of at most ``limit``; returns the length before."""
    grads = [p.grad for p in parameters if p.grad is not None]
    length = torch.sqrt(sum((g * g).sum() for g in grads))
    for g in grads:
        g.mul_((limit / length).clamp(max=1.0))
    return length.item()


one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
one.grad, two.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
assert clip([one, two], limit=1.0) == 5.0  # the length of (3, 0, 4)
print(one.grad, two.grad)

# %% [markdown]
# Why it helps shows in a network of a single number, $h_t = \tanh(1.5\,h_{t-1} + b)$, over 8 steps from the
# state $h_0 = 0.1$, with the loss $L = h_8^2$. As a function of $b$ this loss has two plateaus, and between
# them a narrow valley with steep walls: there the eight factors multiply. The next cell descends for 15 steps
# with learning rate 0.05, once plainly and once with clipping at 1.


# %%
def valley(b):
    h = torch.full_like(b, 0.1)
    for _ in range(8):
        h = torch.tanh(1.5 * h + b)
    return h * h


def descend(limit, b=0.1, lr=0.05, steps=15):
    b, path = nn.Parameter(torch.tensor(b)), []
    for _ in range(steps + 1):
        loss = valley(b)
        path.append((b.item(), loss.item()))
        b.grad = None
        loss.backward()
        clip([b], limit)
        with torch.no_grad():
            b -= lr * b.grad
    return path


figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.0), sharex=True, sharey=True)
for axis, limit, name in zip(axes, (float("inf"), 1.0), ("without clipping", "clipped at 1")):
    grid = torch.linspace(-0.6, 0.6, 2000)
    axis.plot(grid, valley(grid), color=lesson.GREY)
    axis.plot(*zip(*descend(limit)), "o-", color=lesson.RED, markersize=4, lw=0.8)
    axis.set(xlabel="b", title=name)
axes[0].set_ylabel("loss")
plt.show()

# %% [markdown]
# Without clipping, a single step from the steep wall throws $b$ out onto a plateau, and what was learned is
# lost. Clipped, no step is longer than 0.05, and $b$ stays around the valley.
#
# ## Your turn
#
# A whole recurrent layer as one Function. `forward` is given: it computes $W x_t + b$ for all steps at once,
# because that waits for no state, and then it walks. It returns all states. `setup_context` saves the inputs
# and the states. You write `backward`: the loop from the last step to the first.
#
# `grad_h` has the shape $(T, N, H)$, and `grad_h[t]` is $g$ of the step. Python counts from 0, so step $t$ of
# the derivation is `t - 1` in the code: `h[0]` is the state after the *first* step, and the state before it
# is `h0`.


# %% tags=["exercise"]
class RNNFunction(torch.autograd.Function):
    """h_t = tanh(W x_t + U h_{t-1} + b) for all steps t.

    Shapes: x (T, N, I), h0 (N, H), W (H, I), U (H, H), b (H); returns h (T, N, H).
    """

    @staticmethod
    def forward(x, h0, W, U, b):
        from_input, h, states = x @ W.transpose(0, 1) + b, h0, []
        for t in range(len(x)):
            h = torch.tanh(from_input[t] + h @ U.transpose(0, 1))
            states.append(h)
        return torch.stack(states)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, h0, W, U, b = inputs
        ctx.save_for_backward(x, h0, W, U, output)

    @staticmethod
    def backward(ctx, grad_h):
        x, h0, W, U, h = ctx.saved_tensors
        # Your code: a loop over reversed(range(len(x))) that collects delta_t and hands on a carry,
        # then the sums over all steps.
        raise NotImplementedError("grad_x = ?  grad_h0 = ?  grad_W = ?  grad_U = ?  grad_b = ?")


# %% [markdown]
# `check` compares your gradients with difference quotients, and asks more: whether your backward can itself
# be differentiated, whether it works on batches of gradients, in other precisions, and so on. As long as
# there is a hole, the report says "not written". Run the cell as often as you like.

# %% tags=["check"]
torch.manual_seed(0)
# T = 4 steps, N = 3 sequences, I = 2 numbers in, H = 5 in the state
sizes = (4, 3, 2), (3, 5), (5, 2), (5, 5), (5,)
inputs = [0.5 * torch.randn(size) for size in sizes]
check(RNNFunction, *inputs)

# %% [markdown]
# <details><summary>Hint 1: the loop</summary>
#
# Begin with `carry = torch.zeros_like(h0)`. In the loop: `eta = grad_h[t] + carry`, then
# `delta = eta * (1 - h[t] * h[t])`, then the new carry from `delta` and `U`. Put each `delta` into a list. Do
# not write into a tensor that is there already, neither by `deltas[t] = ...` into zeros nor by
# `carry += ...`. The numbers would be right, but batches of gradients fail ("not for vmap"), and perhaps the
# double gradient ("saved tensor written into": when backward is differentiated, what it used has been kept as
# well).
#
# </details>
#
# <details><summary>Hint 2: the order of the list</summary>
#
# The loop goes backwards, so the list is filled from its end. Make it with `deltas = [None] * len(x)` and set
# `deltas[t]` (a list may be written into, it is no tensor), or append and turn it round with `deltas[::-1]`.
# Then `delta = torch.stack(deltas)` has the shape $(T, N, H)$.
#
# </details>
#
# <details><summary>Hint 3: the sums</summary>
#
# `grad_W` is $\sum_t \delta_t^\top x_t$. With all rows below each other, `rows = delta.reshape(-1, len(U))`
# and `x.reshape(-1, x.shape[-1])`, that is one product: `rows.transpose(0, 1) @ x.reshape(-1, x.shape[-1])`.
# For `grad_U` you need in the place of `x` the state *before* each step:
# `torch.cat([h0.unsqueeze(0), h[:-1]])`. (If you add up inside the loop, beware of `h[t - 1]`: for `t = 0`,
# Python takes the last state.) What leaves the loop as carry is `grad_h0`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class RNNSolution(RNNFunction):
    """h_t = tanh(W x_t + U h_{t-1} + b).

    Forward    a_t = W x_t + U h_{t−1} + b,   h_t = tanh(a_t)
    Backward   g_t = ∂L/∂h_t from outside;  for t = T … 1, with δ_{T+1} = 0:
               δ_t = (g_t + δ_{t+1} U) ⊙ (1 − h_t²)
               ∂L/∂x = δ W,   ∂L/∂h_0 = δ_1 U,   ∂L/∂W = Σ_t δ_tᵀ x_t,
               ∂L/∂U = Σ_t δ_tᵀ h_{t−1},   ∂L/∂b = Σ_t Σ δ_t
    Saves      x, h_0, W, U and the output h
    """

    @staticmethod
    def backward(ctx, grad_h):
        x, h0, W, U, h = ctx.saved_tensors
        slope = 1 - h * h
        carry, deltas = torch.zeros_like(h0), [None] * len(x)
        for t in reversed(range(len(x))):
            deltas[t] = (grad_h[t] + carry) * slope[t]
            carry = deltas[t] @ U
        delta = torch.stack(deltas)
        rows = delta.reshape(-1, U.shape[0])  # all steps and samples, one row below the other
        before = torch.cat([h0.unsqueeze(0), h[:-1]]).reshape(rows.shape)
        grad_W = rows.transpose(0, 1) @ x.reshape(-1, x.shape[-1])
        grad_U = rows.transpose(0, 1) @ before
        return delta @ W, carry, grad_W, grad_U, rows.sum(0)


# %% tags=["choose"]
RNN = lesson.choose(RNNFunction, RNNSolution, *inputs)

# %% [markdown]
# ### A mistake on purpose
#
# Here the carry is forgotten: each step hears only its own $g_t$. It is the mistake that is hardest to see,
# since the code runs, the shapes fit, and a network with it even learns something: it just never learns from
# the past. The rest is the solution's.


# %%
class WrongRNN(RNNFunction):
    @staticmethod
    def backward(ctx, grad_h):
        x, h0, W, U, h = ctx.saved_tensors
        delta = grad_h * (1 - h * h)  # should be grad_h + carry, step by step
        rows = delta.reshape(-1, U.shape[0])
        before = torch.cat([h0.unsqueeze(0), h[:-1]]).reshape(rows.shape)
        grad_W, grad_U = rows.transpose(0, 1) @ x.reshape(-1, x.shape[-1]), rows.transpose(0, 1) @ before
        return delta @ W, delta[0] @ U, grad_W, grad_U, rows.sum(0)


check(WrongRNN, *inputs)

# %% [markdown]
# Every argument's gradient is wrong, and the first arrow says why: along axis 0, which is time, each element
# of `x` has the gradient of its own step alone. "Missing sum" is the right name, since the carry is a sum
# over later uses. You could have seen it from the numbers, too: of the elements of `x`, 18 of 24 are wrong,
# and the 6 that are right belong to the last step, which has no carry.
#
# With a sequence of a single step there is never a carry, and the mistake cannot be seen at all, as the next
# cell shows. Test loops with more than one round.

# %%
one_step = [inputs[0][:1], *inputs[1:]]
assert check(WrongRNN, *one_step)

# %% [markdown]
# Make two more mistakes yourself and look at the reports. Return the gradients of `W` and `U` transposed:
# both are named. Then use `h` instead of the states before in `grad_U`, a shift by one step: only `U` is
# wrong, but `check` has no name for that. Which gradients are wrong, and which are not, is then the clue.
#
# ### A gate
#
# The carry is multiplied by $U^\top D$ at each step, whatever the network has learned. Could the network
# *choose* the factor? Yes: keep a part $z$ of the old state and fill the rest with something new,
#
# $$h_t = z_t \odot h_{t-1} + (1 - z_t) \odot c_t, \qquad z_t = \sigma(a^z_t), \qquad c_t = \tanh(a^c_t).$$
#
# $\odot$ multiplies number by number. $\sigma(a) = 1 / (1 + e^{-a})$ lies between 0 and 1, and its derivative
# is $\sigma (1 - \sigma)$. $a^z_t$ and $a^c_t$ are two vectors of the form $W x_t + U h_{t-1} + b$, with
# weights of their own. $z_t$ is called a **gate**. Where it is near 1, the state is kept, and the carry
# passes with a factor near 1, without a matrix and without a slope of tanh.
#
# The second exercise is the gate's step alone; it acts number by number, so all three gradients are products.
# What is saved is the inputs, and backward computes $z$ and $c$ again from them: had forward kept $z$, it
# would be a constant when backward is differentiated, and the row `double gradient` would fail.


# %% tags=["exercise"]
class GateFunction(torch.autograd.Function):
    """z h + (1 - z) c with z = sigmoid(a_z), c = tanh(a_c); all of one shape."""

    @staticmethod
    def forward(h, a_z, a_c):
        z, c = torch.sigmoid(a_z), torch.tanh(a_c)
        return z * h + (1 - z) * c

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y):
        h, a_z, a_c = ctx.saved_tensors
        z, c = torch.sigmoid(a_z), torch.tanh(a_c)
        # Your code: three products.
        raise NotImplementedError("grad_h = ?  grad_a_z = ?  grad_a_c = ?")


# %% tags=["check"]
of_gate = list(torch.randn(3, 4, 5))
check(GateFunction, *of_gate)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Derive by $z$ first: $\partial (z h + (1 - z) c) / \partial z = h - c$. Then comes the chain rule's factor,
# the derivative of $z$ by $a^z$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `grad_h = grad_y * z`. The other two have three or four factors: `grad_y`, the derivative by `z` or `c`, and
# the slope of the sigmoid or of tanh.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class GateSolution(GateFunction):
    """Forward    y = z h + (1 − z) c,   z = σ(a_z),   c = tanh(a_c)
    Backward   ∂L/∂h = g z,   ∂L/∂a_z = g (h − c) z (1 − z),   ∂L/∂a_c = g (1 − z)(1 − c²)
    Saves      the inputs; z and c are computed again
    """

    @staticmethod
    def backward(ctx, grad_y):
        h, a_z, a_c = ctx.saved_tensors
        z, c = torch.sigmoid(a_z), torch.tanh(a_c)
        return grad_y * z, grad_y * (h - c) * z * (1 - z), grad_y * (1 - z) * (1 - c * c)


# %% tags=["choose"]
Gate = lesson.choose(GateFunction, GateSolution, *of_gate)

# %% [markdown]
# ## On MNIST
#
# A digit is a picture of 28 rows with 28 pixels. Read from top to bottom, it is a sequence with $T = 28$ and
# $I = 28$. The network reads all rows, and a linear layer names the digit by the last state alone. What it
# saw in the first row has to live through 27 updates.
#
# The recurrent part is your Function. $U$ begins as a rotation, so that at first nothing vanishes or explodes
# by its doing.


# %%
class Reader(nn.Module):
    """Reads a picture row by row; ``blank`` rows of zeros follow it."""

    def __init__(self, hidden=64, blank=0):
        super().__init__()
        self.W = nn.Parameter(0.3 * torch.randn(hidden, 28) / 28**0.5)
        self.U = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden, hidden)))
        self.b = nn.Parameter(torch.zeros(hidden))
        self.head, self.blank = nn.Linear(hidden, 10), blank

    def forward(self, images):
        return self.head(self.states(images)[-1])

    def states(self, images):
        rows = images[:, 0].transpose(0, 1)  # (28, N, 28): time first
        rows = torch.cat([rows, rows.new_zeros(self.blank, *rows.shape[1:])])
        h0 = rows.new_zeros(rows.shape[1], len(self.b))
        return RNN.apply(rows, h0, self.W, self.U, self.b)


# %% [markdown]
# The loop is that of `lesson.train` with one line more: `clip`, from above, before the update. It notes how
# long the gradient was. The optimizer may have momentum: it then steps not along the gradient but along a
# running sum, $m \leftarrow 0.9\,m + \text{gradient}$, so that one long gradient acts on many steps.


# %%
def train(model, data, epochs, lr, momentum=0.0, limit=float("inf")):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    generator, losses, norms = torch.Generator().manual_seed(0), [], []
    for _ in range(epochs):
        for images, labels in data.batches(64, generator):
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            norms.append(clip(model.parameters(), limit))
            optimizer.step()
            losses.append(loss.item())
    return losses, norms


# %% [markdown]
# Three times through 20,000 digits, once with clipping at 1 and once without; everything else is the same.

# %%
data, test = lesson.digits(train=20_000, test=2_000)
runs = {}
for limit in (1.0, float("inf")):
    torch.manual_seed(0)
    reader = Reader()
    losses, norms = runs[limit] = train(reader, data, epochs=3, lr=0.02, momentum=0.9, limit=limit)
    print(f"limit {limit}: reads {lesson.accuracy(reader, test):.1f} % of the test digits rightly;", end=" ")
    print(
        f"{sum(n > 1 for n in norms)} of {len(norms)} gradients longer than 1, the longest {max(norms):.0f}"
    )

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.0))
for (losses, norms), colour, name in zip(
    runs.values(), (lesson.BLUE, lesson.RED), ("clipped", "not clipped")
):
    smooth = torch.tensor(losses).unfold(0, 25, 25).mean(1)
    axes[0].plot(range(25, len(losses) + 1, 25), smooth, color=colour, label=name)
    axes[1].plot(norms, color=colour, lw=0.4)
axes[1].axhline(1, color="black", lw=1)
axes[0].set(xlabel="step", title="loss, mean of 25 steps", ylim=(0, 2.4))
axes[0].legend()
axes[1].set(xlabel="step", title="length of the gradient before clipping", yscale="log")
plt.show()

# %% [markdown]
# Clipped, the network reads more than 80 % of the digits, which is much for a state of 64 numbers that meets
# one row at a time. Not clipped, it begins likewise. But look at the red lines: a few gradients that are ten
# or twenty times as long as the others are enough for the loss to jump up, and the network does not recover.
# (Where it jumps depends on rounding, so on your machine the numbers may differ.) A smaller learning rate
# would help, too. But it would have to suit the longest gradient of all, and would be too small for all
# others.
#
# ### A longer wait
#
# Now the test of memory. After its 28 rows each digit is followed by 28 blank ones, and only then comes the
# question. What is asked for has to be kept through 28 steps in which nothing is read. We train the plain
# network, and one whose state goes through your gate. The bias of the gate starts at 2, so that
# $z \approx 0.88$: keep, unless there is a reason. It has twice the weights of the plain one. For the plain
# one we tried four learning rates and took the best; for the gated one, we took the first.


# %%
class GatedReader(nn.Module):
    def __init__(self, hidden=64, blank=0):
        super().__init__()
        self.from_input, self.from_state = (
            nn.Linear(28, 2 * hidden),
            nn.Linear(hidden, 2 * hidden, bias=False),
        )
        nn.init.constant_(self.from_input.bias[:hidden], 2.0)
        nn.init.orthogonal_(self.from_state.weight[hidden:])
        self.head, self.blank = nn.Linear(hidden, 10), blank

    def forward(self, images):
        return self.head(self.states(images)[-1])

    def states(self, images):
        rows = images[:, 0].transpose(0, 1)
        rows = torch.cat([rows, rows.new_zeros(self.blank, *rows.shape[1:])])
        states = [rows.new_zeros(rows.shape[1], self.head.in_features)]
        for a in self.from_input(rows):
            a_z, a_c = (a + self.from_state(states[-1])).chunk(2, 1)
            states.append(Gate.apply(states[-1], a_z, a_c))
        return states[1:]


# %%
part, _ = lesson.digits(train=8_000, test=1)
torch.manual_seed(0)
plain, gated = Reader(64, blank=28), GatedReader(64, blank=28)
for name, model, lr, momentum in (("plain", plain, 0.01, 0.9), ("gated", gated, 0.1, 0.9)):
    train(model, part, epochs=2, lr=lr, momentum=momentum, limit=1.0)
    print(f"{name}: {lesson.accuracy(model, test):.1f} %")

# %% [markdown]
# Where does the difference come from? We look at the gradient on its way, in networks that are not trained
# yet: the length of $\partial L / \partial h_t$ for each of the 56 steps. To get at the states one by one,
# the plain network calls your Function for one step at a time. It is drawn twice: with a rotation for $U$,
# and with the numbers that PyTorch's own `nn.RNN` starts from, evenly spread between $-1/\sqrt{H}$ and
# $1/\sqrt{H}$.


# %%
class StepReader(Reader):
    def states(self, images):
        rows = images[:, 0].transpose(0, 1)
        rows = torch.cat([rows, rows.new_zeros(self.blank, *rows.shape[1:])])
        states = [rows.new_zeros(rows.shape[1], len(self.b))]
        for t in range(len(rows)):
            states.append(RNN.apply(rows[t : t + 1], states[-1], self.W, self.U, self.b)[0])
        return states[1:]


def on_the_way(model):
    states = model.states(test.images[:64])
    loss = nn.functional.cross_entropy(model.head(states[-1]), test.labels[:64])
    return [g.norm().item() for g in torch.autograd.grad(loss, states)]


torch.manual_seed(0)
rotation, even, gated = StepReader(64, 28), StepReader(64, 28), GatedReader(64, 28)
nn.init.uniform_(even.U, -(64**-0.5), 64**-0.5)
for model, colour, name in (
    (gated, lesson.GREEN, "gated, bias 2"),
    (rotation, lesson.GREY, "plain, U a rotation"),
    (even, lesson.BLUE, "plain, U as nn.RNN starts"),
):
    plt.plot(range(1, 57), on_the_way(model), color=colour, label=name)
plt.axvspan(28.5, 56, color="black", alpha=0.06)
plt.text(42, 1e-10, "blank rows", ha="center", fontsize=9)
plt.yscale("log")
plt.xlabel("step t")
plt.ylabel("length of the gradient of h at t")
plt.legend(fontsize=8, loc="lower right")
plt.show()

# %% [markdown]
# Read it from right to left, as the gradient travels. Through the gate, a seventh of what left the last step
# still arrives at the first row, 55 steps earlier. With the rotation, the blank rows cost little, since there
# the states shrink towards 0 and the slopes of tanh towards 1; in the rows of the digit they cost a factor of
# about seventy. From the start that `nn.RNN` has, the first row gets $10^{-16}$. Added to what the later rows
# contribute, float32 rounds that away.
#
# So the start matters as much as the gate does. But the rotation is only where the plain network starts from:
# as it learns, $U$ is changed, and must do both, keep the past and compute with it. The gate separates the
# two jobs.
#
# ## What the library does
#
# The page is `manualgrad/layers/rnn.py`, and `rnn_cell.py` beside it has the single steps. First, is it the
# same? `nn.RNN` calls $W$ `weight_ih_l0` and $U$ `weight_hh_l0` ("input to hidden" and "hidden to hidden",
# layer 0), and has two biases. With the same numbers in both, outputs and gradients agree.

# %%
import manualgrad.nn

torch.manual_seed(0)
theirs = manualgrad.nn.RNN(28, 64)
W, U, b1, b2 = theirs.parameters()
x = torch.randn(28, 32, 28)
h, last = theirs(x)
mine = RNN.apply(x, torch.zeros(32, 64), W, U, b1 + b2)
for one, other in zip(torch.autograd.grad(h.sum(), (W, U)), torch.autograd.grad(mine.sum(), (W, U))):
    assert torch.allclose(one, other, atol=1e-3)
assert torch.allclose(h, mine, atol=1e-6)

# %% [markdown]
# **One matrix product over all time steps.** Let autograd unroll the loop, and at every step it makes three
# products: one for the carry, one for $W$ and one for $U$, and adds the latter two to what came before. But
# only the carry has to wait for the step behind it. If all $\delta_t$ are kept, $W$ and $U$ get their sums in
# one product each, with all steps below each other. The library's backward does that, and so does the
# solution above. The next cell counts matrix products, and the bytes that are kept for backward (the weights
# aside), for 28 steps.

# %%
from torch.utils._python_dispatch import TorchDispatchMode

from manualgrad.bench.measure import saved_bytes  # counts each piece of memory once


class Products(TorchDispatchMode):
    """Counts matrix products while it is open."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += operation.overloadpacket.__name__ in ("mm", "addmm", "bmm")
        return operation(*args, **(kwargs or {}))


# %%
x, h0 = torch.randn(28, 64, 28), torch.zeros(64, 128)  # 28 steps, 64 sequences, a state of 128 numbers
W, U, b = [(0.1 * torch.randn(size)).requires_grad_() for size in ((128, 28), (128, 128), (128,))]


def by_autograd():
    h, states = h0, []
    for x_t in x:
        h = torch.tanh(x_t @ W.T + h @ U.T + b)
        states.append(h)
    return torch.stack(states)


def compare(name, compute, weights):
    bytes_kept = saved_bytes(compute, weights)
    y = compute()
    with Products() as products:
        y.sum().backward()
    print(f"{name:<22} {products.count:3} products in backward, {bytes_kept / 1e6:5.2f} MB kept")


compare("unrolled by autograd", by_autograd, (W, U, b))
compare("your Function", lambda: RNN.apply(x, h0, W, U, b), (W, U, b))
rnn = manualgrad.nn.RNN(28, 128)
compare("manualgrad.nn.RNN", lambda: rnn(x)[0], list(rnn.parameters()))

# %% [markdown]
# Autograd needs 27 products for the carry (from each step to the one before), and 28 each for $W$ and $U$.
# Yours needs 28 for the carry, since it computes the gradient of $h_0$ too, and one each for $W$, $U$ and
# $x$. If you added up $W$ and $U$ inside the loop, which is just as right, you see more. The bytes are the
# same: all states, and the input.
#
# **Only what is needed.** The library makes one product less: `x` asks for no gradient here, so none is
# computed (`ctx.needs_input_grad` tells which do). It goes the other way, too. If $W$ is frozen, `x` is not
# needed in backward, and it is not kept. Sequences of different lengths are stacked without padding
# (`batch_sizes`), and in half precision the slopes $1 - h^2$ are taken in float32, since near $h = 1$ the
# difference loses its digits.
#
# **Gates.** The LSTM (long short-term memory) has two states, $h$ and $c$, and the path through time of $c$
# is that of your gate, with two gates in the place of $z$ and $1 - z$:
#
# $$c_t = f_t \odot c_{t-1} + i_t \odot \tilde c_t, \qquad h_t = o_t \odot \tanh(c_t).$$
#
# The factor of the carry is $f_t$, the "forget gate". The GRU (gated recurrent unit) has your formula, and
# one gate more. Their backwards need the gates. The library keeps these and the states, and computes
# $\tanh(c_t)$ again, as you did with $z$ and $c$ in the exercise. For the sizes above, beside PyTorch's own:

# %%
for kind in ("LSTM", "GRU"):
    for place in (nn, manualgrad.nn):
        layer = getattr(place, kind)(28, 128)
        size = saved_bytes(lambda layer=layer: layer(x)[0], layer.parameters())
        print(f"{place.__name__}.{kind}: {size / 1e6:.1f} MB kept")

# %% [markdown]
# And `check`, on the whole module. Now the first row has a counterpart, PyTorch's LSTM, and it agrees.

# %%
check(manualgrad.nn.LSTM(3, 4), torch.randn(5, 2, 3))

# %% [markdown]
# ## The question behind
#
# Why do gradients vanish, and must they? Hochreiter's answer was a path on which the factor is 1 by
# construction; that became the LSTM. Pascanu, Mikolov and Bengio explained the other side, explosions, as
# walls in the loss like the one above, and proposed clipping. Clipping is in nearly every training run of
# today. Yet it makes the step something other than the gradient of any loss, and what exactly it converges to
# is still being studied.
#
# The surprise came later. Orvieto and others showed in 2023 that a recurrence without any tanh inside, whose
# matrix $U$ is diagonal and carefully initialized with absolute values just below 1, learns dependencies over
# thousands of steps and trains much faster. The line "radius 1.0, linear" in our picture is the idea. How
# much of the non-linearity in time is needed at all, and what a state of fixed size can remember, are open
# questions.
#
# - S. Hochreiter, J. Schmidhuber, *Long short-term memory*, 1997, doi:10.1162/neco.1997.9.8.1735
# - R. Pascanu, T. Mikolov, Y. Bengio, *On the difficulty of training recurrent neural networks*, 2013,
#   arXiv:1211.5063
# - A. Orvieto and others, *Resurrecting recurrent neural networks for long sequences*, 2023, arXiv:2303.06349
#
# ## What you know now
#
# - A recurrent network, unrolled, is a deep network with shared weights. The gradient of a shared weight is
#   the sum of what each use gets.
# - Backpropagation through time is one loop from the last step to the first. What it hands on is the carry,
#   and without it nothing is learned from the past.
# - The carry is multiplied by $U^\top D$ at each step. Powers vanish or explode; clipping bounds an
#   explosion, a gate keeps gradients from vanishing.
# - Only the carry has to wait. The sums over time are matrix products over all steps at once.
#
# Two further exercises, without solution. (1) Truncate: set the carry to zero at every tenth step, counted
# from the end, and compare the accuracy. Why does `check` reject it, and why may one do it all the same? (2)
# Write the LSTM's step as one Function with two outputs, $h_t$ and $c_t$; its backward then gets two
# gradients. Compare it with `LSTMCellFunction` in `manualgrad/layers/rnn_cell.py`.
#
# Next: lesson 9, attention, in which every step may look at every other directly, and no carry is needed.
