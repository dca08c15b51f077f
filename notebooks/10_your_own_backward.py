# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 10. Write your own backward: when it is not the derivative, and should not be
#
# In nine lessons a backward was right if it was the derivative of its forward. But a backward is a program,
# and you may write another one. At the end of this lesson you know three that people use: one that trains
# through steps whose derivative is zero, one that turns a gradient round, and one that answers another
# question than the derivative does. You know how to test such a rule, and how to put it into a model that
# is already there.
#
# Needs: lesson 3 (activations) and lesson 6 (convolution), and the mean of a random number. Time: about 60
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
import copy

import lesson
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

import manualgrad
from manualgrad import check

lesson.style()

# %% [markdown]
# ## The idea
#
# Suppose that a network shall run on a tiny chip, where an activation may only be $-1$ or $+1$: one bit. So
# each unit ends with the function
#
# $$\operatorname{sign}(x) = \begin{cases} +1 & x > 0 \\ -1 & x \le 0 \end{cases}$$
#
# How do you train it? Move $x$ a little, and $\operatorname{sign}(x)$ does not move at all. Its derivative is
# 0 everywhere, except at $x = 0$, where there is none. So every gradient that comes back through it is 0, and
# what lies before it never learns. The derivative is *right*, and useless.
#
# The way out: keep the forward, and give it the backward of *another* function that looks like it, and has a
# slope. That function is called a **surrogate**. The picture shows sign, and the surrogate that we shall
# take: $\operatorname{hardtanh}(x)$, which is $x$ between $-1$ and $1$ and stays at $\pm 1$ beyond.

# %%
x = torch.linspace(-2.5, 2.5, 501)
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3), sharey=True)
for axis, name, y, slope in (
    (axes[0], "sign: the forward", torch.where(x > 0, 1.0, -1.0), torch.zeros_like(x)),
    (axes[1], "hardtanh: the surrogate", x.clamp(-1, 1), (x.abs() < 1).float()),
):
    axis.plot(x, y, color=lesson.BLUE, label="the function")
    axis.plot(x, slope, color=lesson.ORANGE, linestyle="--", label="its derivative")
    axis.set(title=name, xlabel="x", ylim=(-1.3, 1.3))
axes[0].legend(loc="lower right")
plt.show()

# %% [markdown]
# A forward of one function with the backward of another is one reason to write a backward that is not the
# derivative. In this lesson there are three:
#
# | rule | forward | backward | why |
# |---|---|---|---|
# | **straight-through estimator** | sign of $x$ | hardtanh's derivative | the true derivative is 0 |
# | **gradient reversal** | $x$ | the gradient, times $-\lambda$ | two parts want opposite things |
# | **guided backpropagation** | ReLU of $x$ | ReLU's, nothing negative | another question is asked |
#
# ## By hand
#
# One unit, one weight $w$, the input $x = 2$, the output $y = \operatorname{sign}(wx)$, the target $t = 1$,
# and the loss $L = \frac12 (y - t)^2$. We start with $w = -0.3$.
#
# **Forward.** $z = wx = -0.6$, so $y = -1$, and $L = \frac12 (-1 - 1)^2 = 2$.
#
# **Backward, with the true derivative.** $\partial L/\partial y = y - t = -2$. The derivative of sign at
# $-0.6$ is 0, so $\partial L/\partial z = -2 \cdot 0 = 0$, and $\partial L/\partial w = 0 \cdot x = 0$. The
# error is large, and $w$ stays as it is, forever.
#
# **Backward, with the surrogate's.** $\partial L/\partial y = -2$ as before. Hardtanh has at $-0.6$ the slope
# 1, so we pass on $-2 \cdot 1 = -2$ to $z$, and $-2 \cdot x = -4$ to $w$. A step of gradient descent with
# learning rate $0.1$: $w = -0.3 - 0.1 \cdot (-4) = 0.1$.
#
# **Forward again.** $z = 0.1 \cdot 2 = 0.2$, so $y = 1$, and $L = 0$. The unit has learned.
#
# The next cell does the same in Python.

# %%
w, x, t = -0.3, 2.0, 1.0
z = w * x
y = 1.0 if z > 0 else -1.0
assert 0.5 * (y - t) ** 2 == 2

grad_y = y - t
grad_z = grad_y * (1 if abs(z) < 1 else 0)  # hardtanh's slope instead of sign's
grad_w = grad_z * x
assert (grad_y, grad_z, grad_w) == (-2, -2, -4)

w = w - 0.1 * grad_w
assert w * x > 0  # the sign is right now, the loss is 0
print("w is", round(w, 6))

# %% [markdown]
# ## The derivation
#
# Throughout, $x$ is the input of a rule, $y$ its output, $L$ the loss, and $g = \partial L/\partial y$ the
# gradient that arrives. We look for $\partial L/\partial x$, or for what we put in its place.
#
# ### Why hardtanh?
#
# One could say: because it looks like sign. There is a better reason. Add noise to the input before the sign
# is taken: a number $u$ that is drawn anew at each call, uniformly between $-1$ and $1$ (each number is as
# likely as any other). Then $y = \operatorname{sign}(x + u)$ is random, and we can ask for its mean.
#
# Take $x$ between $-1$ and $1$. The output is $+1$ if $u > -x$. The numbers $u$ from $-x$ to $1$ are a piece
# of length $1 + x$ out of the length 2 from $-1$ to $1$, so this happens with probability $\frac{1+x}{2}$.
# With the rest of the probability, $\frac{1-x}{2}$, the output is $-1$. So
#
# $$\text{mean of } y = \frac{1+x}{2} \cdot (+1) + \frac{1-x}{2} \cdot (-1) = x .$$
#
# For $x \ge 1$ the sum $x + u$ is never negative, and the mean is $+1$; for $x \le -1$ it is $-1$. Together:
#
# $$\text{mean of } \operatorname{sign}(x + u) = \operatorname{hardtanh}(x) .$$
#
# So hardtanh's derivative, which is 1 for $|x| < 1$ and else 0, *is* a derivative: of what sign does on
# average, if its input is a little uncertain. The rule passes it on:
#
# $$\boxed{\;\frac{\partial L}{\partial x} := g \cdot
# \begin{cases} 1 & |x| < 1 \\ 0 & \text{else} \end{cases}\;}$$
#
# We write $:=$, because this is a definition and not a consequence. It is still an estimate: the layers that
# follow do not see the mean, but one sign, and what they make of the mean is not the mean of what they make
# of the signs. The name of the rule says how it is built: inside of $\pm 1$ the gradient goes *straight
# through*. The next cell confirms the mean.

# %%
torch.manual_seed(0)
x = torch.linspace(-2, 2, 9)
noise = torch.rand(100_000, 1) * 2 - 1
mean = torch.where(x + noise > 0, 1.0, -1.0).mean(0)
for a, b in zip(x.tolist(), mean.tolist()):
    print(f"x = {a:+.1f}   mean of sign(x + u) = {b:+.3f}")
assert torch.allclose(mean, x.clamp(-1, 1), atol=0.01)

# %% [markdown]
# ### Gradient reversal
#
# A network is split in two: *features* $h$, computed from the image with weights $\theta$, and a *spy*, which
# tries to read something from $h$ that we want hidden. The spy has a loss $L$: small, if it reads well. The
# spy's own weights $\varphi$ shall make $L$ smaller, so their step of gradient descent with learning rate
# $\eta$ is
#
# $$\varphi \leftarrow \varphi - \eta \, \frac{\partial L}{\partial \varphi} .$$
#
# The features shall make $L$ *larger*. Their step goes uphill, and a number $\lambda > 0$ says how eagerly:
#
# $$\theta \leftarrow \theta + \eta \lambda \, \frac{\partial L}{\partial \theta}
# = \theta - \eta \cdot (-\lambda) \, \frac{\partial L}{\partial \theta} .$$
#
# So one optimizer can do both, if somewhere between the spy and the features the gradient is multiplied by
# $-\lambda$. That is a layer: forward $y = x$, backward $\partial L/\partial x := -\lambda g$. As the chain
# rule is a product, everything before it gets the factor, and nothing behind it does. The surrogate: the
# function $-\lambda x$ has this derivative.
#
# ### Guided backpropagation
#
# Here the model is trained already, and we ask which pixels of an image *speak for* an answer. ReLU's
# backward is $g$ where $x > 0$ and 0 elsewhere. Guided backpropagation also drops what is negative in $g$:
#
# $$\frac{\partial L}{\partial x} :=
# \begin{cases} g & x > 0 \text{ and } g > 0 \\ 0 & \text{else} \end{cases}$$
#
# Whatever arrives at a unit and speaks against the answer is not passed on.
#
# This rule is of another kind than the first two. Every derivative is *linear* in $g$: if $f'$ is the
# derivative, then $g_1$ becomes $g_1 f'$, $g_2$ becomes $g_2 f'$, and $g_1 + g_2$ becomes $(g_1 + g_2) f'$,
# which is the sum of the two. Guided backpropagation is not: with $x = 1$, $g_1 = 3$, $g_2 = -2$ it answers
# 3 and 0, whose sum is 3; but for $g_1 + g_2 = 1$ it answers 1. So it is **the derivative of no function
# whatever**. There is no surrogate.
#
# ## Your turn
#
# ### Exercise 1: straight through sign
#
# The forward is written. Write the backward: one line, from the box above.


# %% tags=["exercise"]
class SignFunction(torch.autograd.Function):
    """y = +1 where x > 0, else −1. Backward: hardtanh's."""

    @staticmethod
    def forward(x):
        return torch.where(x > 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        # Your code: grad_y where x is between −1 and 1, else 0.
        raise NotImplementedError("grad_x = ?")


# %% [markdown]
# How do you test it? `check` compares a backward with the slope of *its own* forward, and the slope of sign
# is 0: it will never agree, and it should not. But we know whose derivative the backward is: the
# surrogate's. So we build a Function that has the surrogate's forward and your backward, and have that one
# checked. A few lines do it, for any rule. (The last one remembers the rule itself, so that we find it again
# when it has passed.)


# %%
def behind(surrogate, rule):
    """The forward of ``surrogate`` with the backward of ``rule`` behind it."""

    class Posing(rule):
        forward = staticmethod(surrogate)

    Posing.__name__ = rule.__name__
    Posing.rule = rule
    return Posing


def hardtanh(x):
    return x.clamp(-1, 1)


torch.manual_seed(0)
x = 1.5 * torch.randn(3, 4)

# %% [markdown]
# Until the backward is written, the report says so.

# %% tags=["check"]
check(behind(hardtanh, SignFunction), x)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two numbers are needed at each element: `grad_y`, and whether $|x| < 1$. `x.abs() < 1` is a tensor of True
# and False.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.where(condition, a, b)` takes `a` where the condition is true, and `b` elsewhere. Both may be
# numbers.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class SignSolution(SignFunction):
    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        grad_x = torch.where(x.abs() < 1, grad_y, 0)  # at −1 and 1 themselves we take 0
        return grad_x


# %% tags=["choose"]
SignRule = lesson.choose(behind(hardtanh, SignFunction), behind(hardtanh, SignSolution), x).rule

# %% [markdown]
# What does `check` say to the rule itself, with sign as its forward? Look at it once. The report is right in
# every word, and the rule is right too: they answer different questions. It knows no name for the mistake,
# since it is none.

# %%
check(SignRule, x)


# %% [markdown]
# Now a mistake on purpose: the line that forgets $|x| < 1$ and always passes the gradient on.


# %%
class WrongSign(SignFunction):
    @staticmethod
    def backward(ctx, grad_y):
        return grad_y  # and beyond −1 and 1?


check(behind(hardtanh, WrongSign), x)

# %% [markdown]
# The elements that are wrong are those beyond $\pm 1$, and the report has a name for it: `grad_output`, our
# `grad_y`, was handed on as it came. (This too is a rule that people use: it is the derivative of another
# surrogate, $y = x$. Put `lambda x: 1 * x` in the place of `hardtanh`, and check it.)
#
# ### Exercise 2: gradient reversal
#
# The rule has a second argument, `strength`: the $\lambda$ above. It is a number, not a tensor, and has no
# gradient. `backward` still returns something for it, in its place: `None`. (In forward, `x.view_as(x)` has
# the numbers of `x` and is a tensor of its own, with its own place in the graph.)


# %% tags=["exercise"]
class ReversalFunction(torch.autograd.Function):
    """y = x. Backward: −strength times the gradient."""

    @staticmethod
    def forward(x, strength):
        return x.view_as(x)  # the same numbers, as a new tensor

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.strength = inputs

    @staticmethod
    def backward(ctx, grad_y):
        # Your code: one line, and what is returned for each argument of forward.
        raise NotImplementedError("grad_x = ?")


# %% [markdown]
# The surrogate is $-\lambda x$.


# %%
def mirrored(x, strength):
    return -strength * x


# %% tags=["check"]
check(behind(mirrored, ReversalFunction), x, 0.3)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `ctx.strength` is there in `backward`. No tensor was saved, and none is needed: the rule does not depend on
# $x$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Return two things: the gradient of `x`, and `None`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class ReversalSolution(ReversalFunction):
    @staticmethod
    def backward(ctx, grad_y):
        grad_x = -ctx.strength * grad_y
        return grad_x, None


# %% tags=["choose"]
Reversal = lesson.choose(behind(mirrored, ReversalFunction), behind(mirrored, ReversalSolution), x, 0.3).rule

# %% [markdown]
# ### Exercise 3: guided backpropagation
#
# The forward is ReLU. Write the backward: the gradient goes on where $x$ is positive *and* the gradient is.


# %% tags=["exercise"]
class GuidedFunction(torch.autograd.Function):
    """y = max(x, 0). Backward: what is positive in the gradient, where x is positive."""

    @staticmethod
    def forward(x):
        return x.clamp(min=0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        # Your code: one line.
        raise NotImplementedError("grad_x = ?")


# %% [markdown]
# This rule is the derivative of nothing, so `check` cannot judge it, not even behind another forward. What
# remains is what you would do with any program: write down what it must answer, and compare. There are four
# cases, two signs of $x$ times two signs of $g$.


# %%
def examine(rule):
    """Whether ``rule`` answers the four cases of guided backpropagation rightly; prints them."""
    x = torch.tensor([2.0, 2.0, -2.0, -2.0], requires_grad=True)
    g = torch.tensor([3.0, -3.0, 3.0, -3.0])
    try:
        (got,) = torch.autograd.grad(rule.apply(x), x, g)
    except NotImplementedError as hole:
        print(f"{rule.__name__}: not written yet: {hole}")
        return False
    expected = torch.tensor([3.0, 0.0, 0.0, 0.0])
    for case in zip(x.tolist(), g.tolist(), expected.tolist(), got.tolist()):
        said = "ok" if case[2] == case[3] else "WRONG"
        print("x = {:+.0f}, g = {:+.0f}: expected {:.0f}, got {:.0f}".format(*case), said)
    return torch.equal(got, expected)


# %% tags=["check"]
examine(GuidedFunction)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two conditions, joined by `&`. Mind the brackets: `(x > 0) & (...)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.where` again, as in exercise 1.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class GuidedSolution(GuidedFunction):
    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        grad_x = torch.where((x > 0) & (grad_y > 0), grad_y, 0)
        return grad_x


# %% tags=["choose"]
if examine(GuidedFunction):
    GuidedRule = GuidedFunction
else:
    print("Yours does not pass yet: from here on the solution stands in.")
    GuidedRule = GuidedSolution
    assert examine(GuidedRule)

# %% [markdown]
# ## On MNIST
#
# ### A network of single bits
#
# First an ordinary network, with hardtanh for its activations:


# %%
train, test = lesson.digits()


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 128),
        nn.Hardtanh(),
        nn.Linear(128, 64),
        nn.Hardtanh(),
        nn.Linear(64, 10),
    )


def learn(model):
    return lesson.train(model, train, epochs=2, lr=0.02, momentum=0.9)


# %% [markdown]
# We want three networks from it: this one, one with your rule in the place of `nn.Hardtanh`, and one with
# sign and its true derivative. `manualgrad.swap` takes `rules`: from a class of layers to a class of yours
# that takes its place, in the model that is there. Your class must be a subclass of the class that it
# replaces, as it takes over its attributes. It needs nothing but a `forward`:


# %%
class Sign(nn.Hardtanh):
    def forward(self, input):
        return SignRule.apply(input)


class SignTruth(SignFunction):
    @staticmethod
    def backward(ctx, grad_y):
        return torch.zeros_like(grad_y)  # the derivative of sign


class TrueSign(nn.Hardtanh):
    def forward(self, input):
        return SignTruth.apply(input)


bits, stuck = network(), network()
print(manualgrad.swap(bits, rules={nn.Hardtanh: Sign}))
print(manualgrad.swap(stuck, rules={nn.Hardtanh: TrueSign}))

# %% [markdown]
# All three start with the same random weights, and learn with the same loop. This takes a few seconds each.

# %%
smooth = network()
curves = {
    "hardtanh": learn(smooth),
    "sign, straight through": learn(bits),
    "sign, true derivative": learn(stuck),
}
for name, model in zip(curves, (smooth, bits, stuck)):
    moved = (model[1].weight - network()[1].weight).abs().max().item()
    print(
        f"{name:24} {lesson.accuracy(model, test):5.1f} %   first layer's weights moved by up to {moved:.3f}"
    )

# %%
for (name, losses), color in zip(curves.items(), (lesson.GREY, lesson.BLUE, lesson.RED)):
    smoothed = torch.tensor(losses).unfold(0, 50, 50).mean(1)
    plt.plot(50 * (1 + torch.arange(len(smoothed))), smoothed, color=color, label=name)
plt.gca().set(xlabel="step", ylabel="loss (mean of 50 steps)", title="Three ways back", ylim=(0, 2.4))
plt.legend()
plt.show()

# %% [markdown]
# With its true derivative, sign lets nothing through: the first layer's weights have not moved at all. Only
# the last layer learns, from 64 bits that mean nothing in particular. That is how it still reaches 60.7 %.
# Straight through, the network of bits learns nearly as well as the one with hardtanh, with a backward that
# is *wrong* wherever it lets something through.
#
# And the surrogate itself? Put hardtanh back into the network of bits. It was trained for sign, in forward,
# and for hardtanh, in backward.

# %%
print(f"as trained: {lesson.accuracy(bits, test):.1f} %")
print(manualgrad.unswap(bits, rules={nn.Hardtanh: Sign}))
print(f"with hardtanh: {lesson.accuracy(bits, test):.1f} %")

# %% [markdown]
# It reads digits with hardtanh, too, and even a little better. The weights were chosen for both.
#
# ### A network that hides something
#
# Some people press the pen harder than others. A network that reads digits will know about it too. Let us
# have one that reads the digit and does *not* know how much ink was used. "Much" means: more than the median
# of this digit. So a guess is right in 50 % of the cases, whatever the digit is.
#
# The features go to a *reader*, which wants the digit, and through your gradient reversal to a *spy*, which
# wants the ink. All are trained at once, with one loss and one optimizer. With $\lambda = 0$ the features do
# not care about the spy.
#
# They learn from 20 000 of the training digits, and are tested with 5000 others of these. Why not with test
# digits? The next cell shows it.

# %%
part = lesson.Digits(train.images[:20_000], train.labels[:20_000])
held = lesson.Digits(train.images[20_000:25_000], train.labels[20_000:25_000])
ink = part.images.mean((1, 2, 3))
median = torch.stack([ink[part.labels == digit].median() for digit in range(10)])


def much_ink(digits):
    """1 for each digit that has more ink than the median of its kind, else 0."""
    return (digits.images.mean((1, 2, 3)) > median[digits.labels]).long()


much = [much_ink(part), much_ink(held)]
for name, digits in (("5000 training digits", held), ("first 5000 test digits", test)):
    print(f"above the median: {100 * much_ink(digits)[:5000].float().mean():.1f} % of the {name}")

# %% [markdown]
# The first 5000 test digits were written by other people, with less ink. Whoever always says "little" would
# be right in more than 60 % of the cases there, and would look like a spy. With the training digits, a guess
# is worth 51 % at most. Before you call a number good or bad, ask what a guess is worth.


# %%


def spy():
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 2))


def hide(strength):
    """Train features, reader and spy together; returns the three."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh())
    parts = nn.ModuleList([features, nn.Linear(32, 10), spy()])
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.02, momentum=0.9)
    for rows in [rows for _ in range(5) for rows in torch.randperm(len(part)).split(64)]:
        h = features(part.images[rows])
        loss = F.cross_entropy(parts[1](h), part.labels[rows])
        loss = loss + F.cross_entropy(parts[2](Reversal.apply(h, strength)), much[0][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return parts


# %% [markdown]
# The spy failing is no proof that nothing is there: perhaps the features have only learned to fool *this*
# spy. So we train a fresh one afterwards, on features that hold still.


# %%
def fresh_spy(features):
    """How well a new spy reads the ink, in percent."""
    with torch.no_grad():
        h, h_held = features(part.images), features(held.images)
    torch.manual_seed(1)
    model = spy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for rows in [rows for _ in range(3) for rows in torch.randperm(len(part)).split(64)]:
        optimizer.zero_grad()
        F.cross_entropy(model(h[rows]), much[0][rows]).backward()
        optimizer.step()
    return 100 * (model(h_held).argmax(1) == much[1]).float().mean().item()


print("strength   reader    its spy   a fresh spy")
for strength in (0.0, 0.1, 0.3, 1.0):
    features, reader, trained = hide(strength)
    with torch.no_grad():
        h = features(held.images)
        reads = 100 * (reader(h).argmax(1) == held.labels).float().mean()
        spies = 100 * (trained(h).argmax(1) == much[1]).float().mean()
    print(f"{strength:8}   {reads:4.1f} %    {spies:4.1f} %    {fresh_spy(features):4.1f} %")

# %% [markdown]
# The reader loses next to nothing. Now the spy that was trained along. The larger $\lambda$ is, the less it
# reads, and at $\lambda = 1$ it is down to guessing. If we asked no other, we should say that the features
# have forgotten the ink.
#
# The last column says that they have not. A fresh spy reads the ink in 69.0 % of the cases from features that
# were left alone. With reversal it falls to between 60 and 64 %, a good part of the way to guessing; but a
# larger $\lambda$ does not bring it further down. What it does is to mislead the one spy that is listening.
# Had we trusted that one, we should have been deceived, by a rule that did precisely what we had written.
# (Other random starts move these numbers by a few percent: change the seed in `hide`. The pattern stays.)
#
# ### What a network looks at
#
# Now a convolutional network, trained as in lesson 6, with nothing but `torch.nn`.

# %%
torch.manual_seed(0)
cnn = nn.Sequential(
    *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)),
)
lesson.train(cnn, part, epochs=2, lr=0.05, momentum=0.9)
print(f"{lesson.accuracy(cnn, test):.1f} %")

# %% [markdown]
# We ask it for the gradient of a digit's logit by the pixels: the number that says what each pixel does to
# the answer. Once as it is, and once with your rule in all its ReLUs. `manualgrad.swapped` does so for the
# length of a `with` block, and then puts back what was there.


# %%
class GuidedReLU(nn.ReLU):
    def forward(self, input):
        return GuidedRule.apply(input)


def by_pixels(model, images, labels):
    """∂(logit of the label)/∂(pixel), for each image."""
    images = images.clone().requires_grad_()
    logits = model(images)
    return torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), images)[0]


def guided(model, images, labels):
    with manualgrad.swapped(model, rules={nn.ReLU: GuidedReLU}):
        return by_pixels(model, images, labels)


images, labels = test.images[:8], test.labels[:8]
with manualgrad.swapped(cnn, rules={nn.ReLU: GuidedReLU}) as report:
    print(report)
    swapped_logits = cnn(images)
assert torch.equal(swapped_logits, cnn(images))  # the forward is the same, to the last bit


# %%
def rows_of_pictures(rows):
    """A row of pictures for each title; blue is negative, red is positive, digits are grey."""
    figure, axes = plt.subplots(len(rows), 8, figsize=(8.6, 1.12 * len(rows)), squeeze=False)
    for axis_row, (title, pictures) in zip(axes, rows.items()):
        for axis, picture in zip(axis_row, pictures[:, 0]):
            largest = picture.abs().max()
            digit = title == "digit"
            limits = {} if digit else {"vmin": -largest, "vmax": largest}
            axis.imshow(picture, cmap="gray" if digit else "RdBu_r", **limits)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.grid(False)
        axis_row[0].set_ylabel(title, rotation=0, ha="right", va="center")
    plt.show()


rows_of_pictures(
    {"digit": images, "gradient": by_pixels(cnn, images, labels), "guided": guided(cnn, images, labels)}
)

# %% [markdown]
# The gradient is speckled, the guided picture is clean: strokes and their edges. It is tempting to say that
# the second shows better what the network looks at. Keep that thought until "The question behind".
#
# ## What the library does
#
# **Swapping is a change of class.** `manualgrad.swap`, with rules or without, changes `module.__class__` and
# nothing else. Parameters, buffers, hooks and the optimizer's references stay the objects they are. That is
# why your class must be a subclass of the one it replaces, why its `__init__` is not run, and why taking it
# back is exact. What the rule needs to know, like the strength of a reversal, is a class attribute.

# %%
before = {name: id(value) for name, value in cnn.state_dict(keep_vars=True).items()}
with manualgrad.swapped(cnn, rules={nn.ReLU: GuidedReLU}):
    assert {name: id(value) for name, value in cnn.state_dict(keep_vars=True).items()} == before
    print("inside: ", [type(layer).__name__ for layer in cnn])
print("outside:", [type(layer).__name__ for layer in cnn])

# %% [markdown]
# A class that is no subclass is refused, with the way to mend it:

# %%
try:
    manualgrad.swap(cnn, rules={nn.MaxPool2d: GuidedReLU})
except TypeError as error:
    print(error)

# %% [markdown]
# **The library chooses, too.** Where a function has a kink there is no derivative, and a backward must return
# *something*. The pages of `manualgrad/layers/` take what torch takes, and say so in their docstrings:
#
#     Forward    y = min(max(x, a), b)
#     Backward   f′ = 1 where a < x < b, else 0 (at both kinks 0 is taken)
#
# Any number between the slope to the left and the slope to the right is a defensible choice there, and the
# row `gradient` of `check` accepts any. The next cell asks for a few of them.

# %%
functions = manualgrad.functional
for name, function, at in (
    ("relu at 0", functions.relu, 0.0),
    ("hardtanh at 1", functions.hardtanh, 1.0),
    ("|x − 0| (l1_loss) at 0", lambda x: functions.l1_loss(x, torch.zeros(())), 0.0),
):
    point = torch.tensor(at, requires_grad=True)
    print(f"{name:24} {torch.autograd.grad(function(point), point)[0].item():g}")

tie = torch.tensor([[[5.0, 5.0]]], requires_grad=True)
print(
    "max_pool of (5, 5)      ", torch.autograd.grad(functions.max_pool1d(tie, 2), tie)[0].flatten().tolist()
)

# %% [markdown]
# **A rule can be used everywhere, if it says so.** `torch.func.vmap` computes for a whole batch what is
# written for one; with it one gets the gradient of each image by all weights. It refuses your Function as
# it stands. `generate_vmap_rule = True` tells torch that `forward`, `setup_context` and `backward` are made
# of plain tensor operations, so that it may batch them itself. Every Function of the library says it.


# %%
class BatchedRule(GuidedRule):
    generate_vmap_rule = True


def slopes(rule):
    one = torch.func.grad(lambda row: rule.apply(row).sum())
    return torch.func.vmap(one)(torch.tensor([[1.0], [-1.0]])).tolist()


try:
    slopes(GuidedRule)
except RuntimeError as error:
    print(str(error).split(". ")[0])
print(slopes(BatchedRule))


# %% [markdown]
# ## The question behind
#
# **Does a clean picture explain the network?** Adebayo and others (2018, arXiv:1810.03292) proposed a test:
# give the network random weights. It knows nothing now. If the picture still looks the same, it was a
# picture of the *image*, not of what the network had learned. Let us do it. The network below has the same
# layers, and was never trained.

# %%
untrained = copy.deepcopy(cnn)
torch.manual_seed(1)
for layer in untrained:
    if hasattr(layer, "reset_parameters"):
        layer.reset_parameters()
print(f"untrained: {lesson.accuracy(untrained, test):.1f} %")
rows_of_pictures(
    {
        "digit": images,
        "gradient,\nuntrained": by_pixels(untrained, images, labels),
        "guided,\nuntrained": guided(untrained, images, labels),
    }
)

# %% [markdown]
# The gradient of a network that knows nothing is noise, as it should be. Its guided picture still shows the
# digit. To put a number on it, we order the pixels of each picture by size and correlate the order before and
# after (1: the same order, 0: nothing in common), while the layers get random weights one by one, from the
# last to the first.


# %%
def ranks(pictures):
    order = pictures.flatten(1).abs().argsort(1).argsort(1).float()
    return F.normalize(order - order.mean(1, keepdim=True))


def alike(a, b):
    return (ranks(a) * ranks(b)).sum(1).mean().item()


many, their = test.images[:200], test.labels[:200]
some = lesson.Digits(many, their)
trained_maps = by_pixels(cnn, many, their), guided(cnn, many, their)
broken = copy.deepcopy(cnn)
print("random weights in    gradient   guided   accuracy")
for name, index in (
    ("last layer", 9),
    ("both linear layers", 7),
    ("second convolution", 3),
    ("all layers", 0),
):
    broken[index].load_state_dict(untrained[index].state_dict())
    one, two = by_pixels(broken, many, their), guided(broken, many, their)
    correlations = f"{alike(trained_maps[0], one):8.2f} {alike(trained_maps[1], two):8.2f}"
    print(f"{name:20} {correlations} {lesson.accuracy(broken, some):8.1f} %")

# %% [markdown]
# (How can the accuracy be 0.5 %, when guessing gives 10? Under a random last layer most pictures of a digit
# get one or two answers, always the same ones, and it is not rare that for none of the ten they are right.)
#
# At every stage the guided pictures change less than the gradients. With both linear layers random the
# network reads 17.5 % of the digits, hardly better than guessing, and the order of the guided pixels still
# agrees at 0.70. A good deal of what one sees in them is the image, drawn again. The plain gradient is less
# pleasant to look at, and it is the better witness. [Lesson 12](12_responsible.ipynb) goes on with that.
#
# What is known about the three rules, and what is not:
#
# - The straight-through estimator is described by Bengio, Léonard and Courville (2013, arXiv:1308.3432),
#   who credit a lecture of Hinton's. Networks of bits were trained with it by Courbariaux and others (2016,
#   arXiv:1602.02830), and nearly every quantized network today is. Why so rough a rule works is only partly
#   understood: Yin and others (2019, arXiv:1903.05662) prove for small networks that with a well chosen
#   surrogate it is on average a direction of descent, and that with a badly chosen one training can become
#   unstable.
# - Gradient reversal is from Ganin and Lempitsky (2015, arXiv:1409.7495), who used it for features on which
#   two sources of images cannot be told apart. Whether the information has gone, or only hides from one
#   spy, is the question that our fresh spy asked.
# - Guided backpropagation is from Springenberg and others (2015, arXiv:1412.6806). After Adebayo's test,
#   Nie, Zhang and Patel (2018, arXiv:1805.07039) showed why it fails: dropping negative gradients makes it
#   nearly reconstruct the image.
#
# ## What you know now
#
# - A backward is a program. The derivative is one choice, mostly the best one, and sometimes useless.
# - A rule that has a surrogate can be tested exactly: put its backward behind the surrogate's forward, and
#   `check`. A rule that is not linear in the gradient has none; then write down what it must answer.
# - The straight-through estimator of sign is the derivative of what sign does on average under noise.
# - `manualgrad.swap(model, rules={nn.ReLU: GuidedReLU})` changes rules in a model that exists, `unswap` takes
#   them back, `swapped` does it for a `with` block.
# - A picture that pleases is not an explanation. Ask it the same question with random weights.
#
# Further exercises. (1) Write the straight-through estimator of rounding to multiples of $1/4$ for the
# *weights* of a linear layer, with `class Rounded(nn.Linear)` and `rules={nn.Linear: Rounded}`. What is the
# surrogate? How few levels can the weights have before accuracy suffers? (2) Try $g \cdot (1 - \tanh^2 x)$
# in sign's backward. Whose derivative is it, and does the network of bits learn faster or slower?
#
# Next: [lesson 11](11_ladder.ipynb), where a right backward becomes one that others can use.
