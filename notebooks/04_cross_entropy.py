# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 4. Softmax and cross entropy
#
# At the end you will know how ten scores become ten probabilities, how the loss of a classification is
# computed from them, why its gradient is as simple as "what you said, minus what is true", and why nobody who
# computes it takes the exponential of a score. Needs: [lesson 1](01_chain_rule.ipynb) and [lesson
# 2](02_linear.ipynb) ([lesson 3](03_activations.ipynb) helps), the derivatives of $e^x$ and $\ln x$, the
# quotient rule. Time: about 50 minutes.

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

import manualgrad
from manualgrad import check

torch.manual_seed(0)
lesson.style()

# %% [markdown]
# ## The idea
#
# A network that sorts things into classes ends with one score for each class. The scores are any numbers,
# positive or negative; they are called **logits**. Three steps lead from them to the loss.
#
# 1. Take $e$ to the power of each score. Now all are positive.
# 2. Divide by their sum. Now they add up to 1, and can be read as probabilities. Steps 1 and 2 together are
#    called **softmax**.
# 3. Look at the probability of the class that is true, and take minus its logarithm. That is the **cross
#    entropy** of this example: 0 if the network was certain and right, and the larger the less it expected
#    the truth.
#
# Here are three classes with the scores 2, 1 and 0. Let the second one be true.

# %%
scores = torch.tensor([2.0, 1.0, 0.0])
powers = torch.exp(scores)
probabilities = powers / powers.sum()
figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), width_ratios=[1, 1, 1, 1.4])
panels = {"scores $z$": scores, "$e^z$": powers, "probabilities $p$": probabilities}
for axis, (title, values) in zip(axes, panels.items()):
    bars = axis.bar(["0", "1", "2"], values, color=[lesson.BLUE, lesson.ORANGE, lesson.BLUE])
    axis.bar_label(bars, [f"{v:.3g}" for v in values.tolist()])
    axis.set(title=title, xlabel="class", ylim=(0, 1.15 * values.max()))
p = torch.linspace(0.01, 1, 200)
axes[3].plot(p, -p.log(), color=lesson.GREY)
axes[3].plot(probabilities[1], -probabilities[1].log(), "o", color=lesson.ORANGE)
axes[3].annotate("1.41", (probabilities[1] + 0.04, 1.45))
axes[3].set(title="the loss $-\\ln p$", xlabel="$p$ of the true class", ylim=(0, 4.7))
plt.show()

# %% [markdown]
# The true class is orange. It got the probability 0.245, and the loss is $-\ln 0.245 = 1.41$.
#
# Now the way back: in which direction should the scores move? The answer is the most pleasant formula of this
# course. The gradient of the loss by the scores is
#
# $$p - (0, 1, 0) = (0.665,\; -0.755,\; 0.090) .$$
#
# What the network said, minus what it should have said. Each wrong class is pushed down by the probability
# that it took, and the true class is pulled up by the probability that it lacks.

# %% [markdown]
# ## By hand
#
# ### Forward
#
# The scores are $z = (2, 1, 0)$; we count classes from 0, as Python does, so the true class is $t = 1$.
#
# $$e^z = (7.389,\; 2.718,\; 1), \qquad \text{sum} = 11.107, \qquad p = (0.6652,\; 0.2447,\; 0.0900) .$$
#
# The loss is $-\ln 0.2447 = 1.4076$. There is a second way to it: $p_1 = e^{z_1}/\text{sum}$, so
# $-\ln p_1 = \ln(\text{sum}) - z_1 = \ln 11.107 - 1 = 2.4076 - 1$. The same, without computing $p$.
#
# ### Backward, in two steps
#
# Only $p_1$ enters the loss $\ell = -\ln p_1$. Its derivative is $-1/p_1 = -4.086$, so the gradient that
# arrives at softmax is $g = (0,\; -4.086,\; 0)$.
#
# Softmax turns it into $p_j\,(g_j - s)$ with $s = \sum_i g_i p_i$, as we shall derive. Here
# $s = -4.086 \cdot 0.2447 = -1$. So
#
# $$0.6652 \cdot (0 + 1) = 0.6652, \quad 0.2447 \cdot (-4.086 + 1) = -0.7553,
# \quad 0.0900 \cdot (0 + 1) = 0.0900 .$$
#
# That is $p - (0, 1, 0)$, as promised. Note that the three add up to 0.
#
# ### Backward, by nudging
#
# Add 0.001 to $z_0$: the sum becomes $e^{2.001} + 2.718 + 1 = 11.1147$, its logarithm 2.40827 instead of
# 2.40761. The loss has grown by 0.00067, which is 0.001 times 0.665.

# %%
z = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
loss = -torch.log(torch.exp(z)[1] / torch.exp(z).sum())
loss.backward()
print(f"loss {loss.item():.4f}, gradient {[round(g, 4) for g in z.grad.tolist()]}")
assert abs(loss.item() - 1.4076) < 1e-4
assert abs(math.log(math.exp(2.001) + math.e + 1) - 2.40827) < 1e-5
assert torch.allclose(z.grad, torch.tensor([0.6652, -0.7553, 0.0900], dtype=torch.float64), atol=1e-4)

# %% [markdown]
# ## The derivation
#
# ### The softmax
#
# There are $C$ classes, with the scores $z_1, \dots, z_C$. Softmax computes
#
# $$p_i = \frac{e^{z_i}}{S}, \qquad S = \sum_{k=1}^{C} e^{z_k} .$$
#
# Unlike the activations of lesson 3, each score moves *all* outputs, because it is in the sum. We need
# $\partial p_i/\partial z_j$ for each pair. Note that $\partial S/\partial z_j = e^{z_j}$: only one term of
# the sum contains $z_j$.
#
# *The same index*, $i = j$. Quotient rule:
#
# $$\frac{\partial p_i}{\partial z_i} = \frac{e^{z_i} S - e^{z_i} e^{z_i}}{S^2}
# = \frac{e^{z_i}}{S} - \left(\frac{e^{z_i}}{S}\right)^2 = p_i - p_i p_i = p_i (1 - p_i) .$$
#
# *Different indices*, $i \ne j$. The numerator does not contain $z_j$:
#
# $$\frac{\partial p_i}{\partial z_j} = \frac{0 \cdot S - e^{z_i} e^{z_j}}{S^2} = -p_i p_j .$$
#
# Both in one, with $\delta_{ij}$ for 1 where $i = j$ and 0 elsewhere:
#
# $$\frac{\partial p_i}{\partial z_j} = p_i\,(\delta_{ij} - p_j) .$$
#
# Let $g_i = \partial L/\partial p_i$ be what arrives from the loss $L$ (`grad_p` in the code). The score
# $z_j$ acts through all outputs, so the chain rule sums over them:
#
# $$\frac{\partial L}{\partial z_j} = \sum_i g_i\, p_i\,(\delta_{ij} - p_j)
# = g_j p_j - p_j \sum_i g_i p_i = p_j \Big( g_j - \sum_i g_i p_i \Big) .$$
#
# In the bracket stands a gradient minus a mean, the mean of all $g_i$ with the weights $p_i$. That makes
# sense: the probabilities always add up to 1, so raising all of them together is impossible, and only what
# differs from the mean can have an effect.
#
# The $C \times C$ table of derivatives was never needed as a whole: one product, one sum, one difference, one
# product.
#
# ### The cross entropy
#
# With $t$ for the index of the true class, $\ell = -\ln p_t$. Put the definition in; the logarithm of a
# quotient is a difference, and $\ln e^{z_t} = z_t$:
#
# $$\ell = \ln S - z_t, \qquad \ln S = \ln \sum_k e^{z_k} .$$
#
# $\ln S$ is called the **log-sum-exp** of the scores. Its derivative is, by the chain rule,
# $\frac1S \cdot e^{z_j}$, which is $p_j$. And $z_t$ has the derivative 1 if $j = t$, else 0. So
#
# $$\frac{\partial \ell}{\partial z_j} = p_j - \delta_{jt} .$$
#
# The $C$ numbers $\delta_{jt}$ are 1 at the true class and 0 at the others: $(0, 1, 0)$ in our example. Such
# a row is called **one-hot**. It is what the network should have said.
#
# The loss of a batch of $N$ examples is the mean, $L = \frac1N \sum_n \ell_n$. Example $n$ has the scores
# $z_{n1}, \dots, z_{nC}$, a row of a matrix $(N, C)$, and its true class $t_n$. If
# $g = \partial L_{\text{after}}/\partial L$ is the number that arrives from whatever is done with the loss
# afterwards (1, when nothing is), then
#
# $$\frac{\partial L_{\text{after}}}{\partial z_{nj}} = \frac{g}{N} \left( p_{nj} - \delta_{j t_n} \right) .$$
#
# ### What may be taken from the scores
#
# Subtract one and the same number $m$ from all scores. Softmax does not notice:
# $e^{z_i - m} = e^{z_i} e^{-m}$, and the factor $e^{-m}$ stands above and below. For log-sum-exp,
#
# $$\ln \sum_k e^{z_k} = \ln \Big( e^m \sum_k e^{z_k - m} \Big) = m + \ln \sum_k e^{z_k - m} .$$
#
# On paper this changes nothing. In a computer it is everything. A number in float32 is at most
# $3.4 \cdot 10^{38}$, which is $e^{88.7}$: for a score of 89, $e^z$ is infinite. Choose $m$ as the largest
# score. Then the largest exponent is 0, its power is 1, all others are between 0 and 1, and the sum is
# between 1 and $C$. Nothing can overflow.
#
# And below? $e^{-104}$ is 0 in float32. In the sum this is harmless: next to 1, so small a number is nothing.
# But if one computes $p_t$ first and takes the logarithm afterwards, then $\ln 0 = -\infty$. So the logarithm
# must be taken of the *sum*, which is at least 1, and never of a probability.
#
# The next cell compares three ways, all in float32. The scores are $(k, 0, 0)$ and the true class is the
# second. The right answer is very nearly $k$. (`z.gather(1, t.unsqueeze(1))` picks from each row $n$ the
# element number $t_n$. `unsqueeze(1)` adds an axis of length 1, and `squeeze(1)` takes it away.)


# %%
def naive(z, t):
    e = torch.exp(z)
    p = e / e.sum(1, keepdim=True)
    return -torch.log(p.gather(1, t.unsqueeze(1))).squeeze(1)


def shifted(z, t):  # the maximum subtracted, but still the logarithm of a probability
    return naive(z - z.max(1, keepdim=True).values, t)


def logsumexp(z, t):
    m = z.max(1, keepdim=True).values
    log_sum = m + torch.log(torch.exp(z - m).sum(1, keepdim=True))
    return (log_sum - z.gather(1, t.unsqueeze(1))).squeeze(1)


# %%
k = torch.arange(0.0, 141.0)
z = torch.stack([k, 0 * k, 0 * k], 1)
t = torch.ones(len(k), dtype=torch.int64)
ways = {
    "log of softmax": (naive, lesson.RED, 9),
    "log of softmax, maximum subtracted": (shifted, lesson.ORANGE, 5),
    "log-sum-exp, maximum subtracted": (logsumexp, "black", 1.5),
}
figure, axis = plt.subplots(figsize=(7, 3.6))
for name, (function, colour, width) in ways.items():
    loss = function(z, t)
    ok = loss.isfinite()
    axis.plot(k[ok], loss[ok], color=colour, lw=width, label=name, solid_capstyle="butt")
    if not ok.all():
        last = int(k[ok].max())
        axis.annotate(
            f"infinite from {last + 1} on",
            (last, loss[last]),
            (last + 8, last - 30),
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour},
        )
axis.set(
    xlabel="the score $k$ of a wrong class", ylabel="loss", title="Three ways to the same loss, in float32"
)
axis.legend(loc="upper left")
plt.show()

# %% [markdown]
# All three agree as long as they can. With the gradient it is worse, as infinity times 0 is NaN (*not a
# number*). Here is the gradient that autograd finds for each. The right one is $(1, -1, 0)$, nearly.

# %%
for k in (80.0, 100.0, 120.0):
    for name, (function, _, _) in ways.items():
        z = torch.tensor([[k, 0.0, 0.0]], requires_grad=True)
        loss = function(z, torch.tensor([1])).sum()
        loss.backward()
        gradient = ", ".join(f"{g:.2g}" for g in z.grad[0].tolist())
        print(f"k = {k:3g}  {name:35} loss {loss.item():5.4g}   gradient ({gradient})")

# %% [markdown]
# Look at the first line. For $k = 80$ the naive loss is right, and its gradient is wrong, without infinity or
# NaN to warn us: the wrong class is not pushed down. The derivative of the quotient contains $S^2$, and
# $e^{160}$ is too large for float32. For $k = 100$ its gradient is NaN throughout. With the maximum
# subtracted, the loss is still nearly right there, and the gradient is lost all the same. The third way has
# it right each time.
#
# One such score in one example, and every weight of the network is NaN after the next step. Are scores of
# this size rare? Below we shall train a network whose scores pass 89 after a single step.
#
# ### Why not the squared error?
#
# One could as well measure the squared distance of $p$ from the truth. Let there be two classes, and let the
# true one's score exceed the other's by $d$. Then $p = 1/(1 + e^{-d})$, the sigmoid of $d$, is the
# probability of the true class (divide numerator and denominator of softmax by $e^{z_t}$ to see it). Its
# slope by $d$ is $p(1-p)$, as that of $p_i$ by its own score above. So the squared error of the true class,
# $(1-p)^2$, has the derivative $-2(1-p) \cdot p(1-p)$, and the cross entropy $-\ln p$ has
# $-\frac1p \cdot p(1-p) = p - 1$: the logarithm cancels the slope.

# %%
d = torch.linspace(-8, 8, 200)
p = torch.sigmoid(d)
figure, axis = plt.subplots()
axis.plot(d, p - 1, color=lesson.BLUE, label="cross entropy")
axis.plot(d, -2 * (1 - p) ** 2 * p, color=lesson.RED, label="squared error")
axis.set(xlabel="← surely wrong        $d$        surely right →", ylabel="gradient by $d$", ylim=(-1.1, 0.1))
axis.set_title("How hard the loss pulls")
axis.legend(loc="lower right")
plt.show()

# %% [markdown]
# Where the network is right, both are content. Where it is surely *wrong*, cross entropy pulls with full
# force, and the squared error does not pull at all: the softmax is saturated there, that is, flat, and its
# slope swallows the error. The logarithm is just what heals this.

# %% [markdown]
# ## Your turn
#
# ### Exercise 1: the backward of softmax
#
# The input $z$ may have any shape; softmax runs over its last axis. The output $p$ is saved. As long as
# nothing is written, the report says "not written".


# %% tags=["exercise"]
class SoftmaxFunction(torch.autograd.Function):
    """p_i = exp(z_i) / Σ_k exp(z_k), along the last axis."""

    @staticmethod
    def forward(z):
        e = torch.exp(z - z.amax(-1, keepdim=True))
        return e / e.sum(-1, keepdim=True)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_p):
        (p,) = ctx.saved_tensors
        # Your code: the gradient of z. One or two lines.
        raise NotImplementedError("grad_z = ?")


# %% tags=["check"]
points = torch.randn(3, 4)
check(SoftmaxFunction, points)

# %% [markdown]
# <details><summary>Hint 1: which formula</summary>
#
# $\partial L/\partial z_j = p_j \left( g_j - \sum_i g_i p_i \right)$. In the code, $g$ is `grad_p`.
#
# </details>
#
# <details><summary>Hint 2: the sum</summary>
#
# There is one sum for each row, not one for the whole tensor: sum over the last axis.
#
# </details>
#
# <details><summary>Hint 3: the shape</summary>
#
# `.sum(-1, keepdim=True)` keeps the axis, with length 1, so that the sum of each row can be subtracted from
# each element of this row.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class SoftmaxSolution(torch.autograd.Function):
    """Forward    p_i = exp(z_i − m) / Σ_k exp(z_k − m),   m = max z
    Backward   ∂L/∂z_j = Σ_i g_i p_i (δ_ij − p_j) = p_j (g_j − Σ_i g_i p_i)
    Saves      p
    """

    @staticmethod
    def forward(z):
        e = torch.exp(z - z.amax(-1, keepdim=True))
        return e / e.sum(-1, keepdim=True)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_p):
        (p,) = ctx.saved_tensors
        mean = (grad_p * p).sum(-1, keepdim=True)
        grad_z = p * (grad_p - mean)
        return grad_z


# %% tags=["choose"]
MySoftmax = lesson.choose(SoftmaxFunction, SoftmaxSolution, points)

# %% [markdown]
# ### A mistake to look at
#
# This is the most frequent mistake with softmax: to treat it like the sigmoid. $p(1-p)$ is the derivative of
# each output by *its own* score, the diagonal of the table. What each score does to the other outputs is
# forgotten.


# %%
class WrongSoftmax(SoftmaxSolution):
    @staticmethod
    def backward(ctx, grad_p):
        (p,) = ctx.saved_tensors
        return grad_p * p * (1 - p)  # only the diagonal


check(WrongSoftmax, points)

# %% [markdown]
# The report knows it by name, and gives the formula of the derivation, with $y$ for $p$ and $x$ for $z$. One
# can see it without a difference quotient, too. The true gradient of each row adds up to 0, since adding a
# number to all scores changes nothing. This one does not:

# %%
for function in (SoftmaxSolution, WrongSoftmax):
    z = points.clone().requires_grad_()
    (function.apply(z) ** 2).sum().backward()
    print(f"{function.__name__:16} sums of the rows {[round(s, 4) + 0.0 for s in z.grad.sum(1).tolist()]}")

# %% [markdown]
# Such a test is worth a lot when you write a backward: ask what must *not* change the output, and see whether
# the gradient knows it.
#
# ### Exercise 2: cross entropy from the scores
#
# `z` are the scores, shape $(N, C)$, and `t` the true classes, $N$ integers. The output is one number, the
# mean loss. The forward is the log-sum-exp from above. Both inputs are saved, and nothing else. `backward`
# gets a single number `grad`; it returns the gradient of `z`, and `None` for `t`, since one does not
# differentiate by an integer.


# %% tags=["exercise"]
class CrossEntropyFunction(torch.autograd.Function):
    """The mean over n of  ln Σ_k exp(z_nk) − z_n,t(n)."""

    @staticmethod
    def forward(z, t):
        m = z.amax(1, keepdim=True)
        log_sum = m + torch.log(torch.exp(z - m).sum(1, keepdim=True))
        return (log_sum - z.gather(1, t.unsqueeze(1))).mean()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        z, t = ctx.saved_tensors
        # Your code: the gradient of z, then None for t. You may call torch.softmax(z, 1).
        raise NotImplementedError("grad_z = ?")


# %% tags=["check"]
scores = torch.randn(4, 5)
truth = torch.tensor([0, 3, 4, 3])
check(CrossEntropyFunction, scores, truth)

# %% [markdown]
# <details><summary>Hint 1: which formula</summary>
#
# $\frac{g}{N} (p_{nj} - \delta_{j t_n})$. Compute $p$ with softmax. What is the $\delta$ as a matrix?
#
# </details>
#
# <details><summary>Hint 2: the delta</summary>
#
# A one-hot row for each example, 1 in the column of the true class, 0 elsewhere:
# `nn.functional.one_hot(t, z.shape[1])`. It consists of integers; `.to(z.dtype)` turns them into numbers of
# the right kind.
#
# </details>
#
# <details><summary>Hint 3: what is left</summary>
#
# Do not forget `grad`, nor the division by $N$, which is `len(t)`. And `return grad_z, None`. If you subtract
# the ones by writing into the softmax (`p[...] -= 1`), then `double gradient` fails: backward is to be
# differentiated as well, and needs the softmax unchanged. Write into a copy, `p.clone()`.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class CrossEntropySolution(torch.autograd.Function):
    """Forward    L = 1/N Σ_n (ln Σ_k e^z_nk − z_n,t(n)),   with the maximum taken out of the log-sum-exp
    Backward   ∂ ln Σ e^z / ∂z_j = p_j,   so   ∂L/∂z_nj = (p_nj − δ_j,t(n)) / N,   times what arrives
    Saves      z and t: the probabilities are one softmax away
    """

    @staticmethod
    def forward(z, t):
        m = z.amax(1, keepdim=True)
        log_sum = m + torch.log(torch.exp(z - m).sum(1, keepdim=True))
        return (log_sum - z.gather(1, t.unsqueeze(1))).mean()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        z, t = ctx.saved_tensors
        p = torch.softmax(z, 1)
        truth = nn.functional.one_hot(t, z.shape[1]).to(z.dtype)
        grad_z = grad * (p - truth) / len(t)
        return grad_z, None


# %% tags=["choose"]
MyCrossEntropy = lesson.choose(CrossEntropyFunction, CrossEntropySolution, scores, truth)

# %% [markdown]
# Make a mistake on purpose. Leave out the division by $N$: the report says which factor it is, and which axis
# has this length. Leave out `grad`: the upstream gradient is ignored. (Training would go on as ever, because
# there `grad` is 1. It would fail on the day when somebody writes `2 * loss`.)
#
# `check` can also compare with another implementation, here with PyTorch's:

# %%
check(MyCrossEntropy, scores, truth, against=nn.functional.cross_entropy)

# %% [markdown]
# ## On MNIST
#
# A network with one *hidden layer*: a linear layer to 100 numbers, of which ReLU sets the negative ones to 0,
# and another linear layer, from these to the ten scores. It is trained on 10,000 digits with your loss, and
# should read about nine of ten.

# %%
data, test = lesson.digits(train=10_000, test=2_000)


def network(factor=1.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    with torch.no_grad():
        model[3].weight *= factor  # the weights of the last layer
    return model


model = network()
losses = lesson.train(model, data, epochs=3, lr=0.1, loss=MyCrossEntropy.apply)
print(f"loss {losses[0]:.2f} at the start, {sum(losses[-50:]) / 50:.2f} at the end")
print(f"reads {lesson.accuracy(model, test):.1f} % of the test digits")

# %% [markdown]
# A loss of $2.28$ at the start is nearly $\ln 10 = 2.30$: ten classes, each with the probability 1/10.
#
# ### The gradient of a digit
#
# What does the loss tell the network about single digits? We ask your backward for $p - \text{one-hot}$ of
# four test digits: one that is read with certainty, one with doubts, and two that are read wrongly. A bar
# above 0 says "less of this class", the orange one says "more of this one".

# %%
with torch.no_grad():
    logits = model(test.images)
certainty, answer = torch.softmax(logits, 1).max(1)
right = answer == test.labels
sure = torch.where(right, certainty, 0).argmax()
doubtful = torch.where(right, certainty, 1).argmin()
wrong = torch.where(right, 0, certainty).topk(2).indices
chosen = torch.stack([sure, doubtful, *wrong])

z = logits[chosen].requires_grad_()
total = len(chosen) * MyCrossEntropy.apply(z, test.labels[chosen])  # the sum, not the mean
total.backward()
figure, axes = plt.subplots(2, 4, figsize=(9, 4), height_ratios=[1, 1.3])
for column, (n, gradient) in enumerate(zip(chosen.tolist(), z.grad)):
    label = int(test.labels[n])
    axes[0, column].imshow(test.images[n, 0])
    axes[0, column].axis("off")
    axes[0, column].set_title(f"a {label}, read as {answer[n]}")
    colours = [lesson.ORANGE if c == label else lesson.BLUE for c in range(10)]
    axes[1, column].bar(range(10), gradient, color=colours)
    axes[1, column].set(ylim=(-1.1, 1.1), xticks=range(10), xlabel="class")
axes[1, 0].set_ylabel("gradient of the score")
plt.show()

# %% [markdown]
# The first digit teaches nothing any more: its gradient is zero to the eye. The second is right, but should
# be surer. From the others the network learns most: nearly all that was given to the wrong class is taken
# away, and given to the true one. Each row adds up to 0. No element is beyond −1 or 1: however wrong a digit
# is read, this is the most that it can ask of a score.
#
# ### A bad start
#
# Now the weights of the last layer are 60 times too large. The network begins with scores up to 64, and so is
# quite sure of itself, and mostly wrong. Three losses try to save it: yours; the naive one, $-\ln$ of
# softmax, with autograd's derivative; and the squared error between your softmax and the one-hot truth. A
# fourth curve, for comparison, is yours from a good start.


# %%
def squared_error(z, t):
    truth = nn.functional.one_hot(t, 10)
    return (MySoftmax.apply(z) - truth).square().sum(1).mean()


def naive_mean(z, t):
    return naive(z, t).mean()


runs = {
    "cross entropy, good start": (1, MyCrossEntropy.apply, lesson.GREY),
    "cross entropy": (60, MyCrossEntropy.apply, lesson.BLUE),
    "squared error": (60, squared_error, lesson.RED),
    "naive cross entropy": (60, naive_mean, lesson.ORANGE),
}
figure, axis = plt.subplots(figsize=(7.6, 3.4))
for name, (factor, loss, colour) in runs.items():
    model, percents = network(factor), []
    history = []
    for epoch in range(6):
        history += lesson.train(model, data, epochs=1, lr=0.05, loss=loss, seed=epoch)
        percents.append(lesson.accuracy(model, test))
    finite = torch.tensor(history).isfinite()
    note = "" if finite.all() else f", NaN from step {int((~finite).nonzero()[0])} on"
    print(f"{name:26} {percents[-1]:4.1f} %{note}")
    axis.plot(range(1, 7), percents, "o-", ms=3, color=colour, label=name)
axis.set(xlabel="times through the data", ylabel="% of test digits", ylim=(0, 100))
axis.set_title("Starting with large, wrong scores")
axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown]
# With your loss the network recovers from its bad start, though it does not catch up with the good one. The
# squared error stays far behind: the digits that are surely wrong do not pull, as in the picture above. With
# the naive loss, the first step is right; but it is a large step, and after it nearly all digits have scores
# above 89. The second step makes all weights NaN. (The answer to every digit is then 0, and 8.8 % of these
# digits are a 0.)

# %% [markdown]
# ## What the library does
#
# The pages are [`softmax.py`](../manualgrad/layers/softmax.py) and
# [`cross_entropy.py`](../manualgrad/layers/cross_entropy.py). The backward of softmax is yours, for any axis.
# The one of cross entropy is yours, with options and with care:
#
# ### What it keeps
#
# We count the bytes that forward keeps for backward, after a linear layer, for 1000 examples of 1000 classes.
# One matrix of this size in float32 is 4,000,000 bytes.

# %%
from manualgrad.bench.measure import saved_bytes

linear, batch, labels = nn.Linear(64, 1000), torch.randn(1000, 64), torch.randint(0, 1000, (1000,))
before = saved_bytes(lambda: linear(batch), linear.parameters())
losses = {
    "naive, autograd": naive_mean,
    "yours": MyCrossEntropy.apply,
    "torch": nn.functional.cross_entropy,
    "manualgrad": manualgrad.functional.cross_entropy,
}
for name, loss in losses.items():
    kept = saved_bytes(lambda loss=loss: loss(linear(batch), labels), linear.parameters()) - before
    print(f"{name:16} {kept:>9,} bytes")

# %% [markdown]
# Autograd, left alone with the naive formula, keeps two matrices: the exponentials and the probabilities.
# Yours keeps the scores and the 1000 labels (8 bytes each). The library keeps the log-sum-exp of each row as
# well, 4 bytes each, so that backward need not sum the exponentials again:
#
#     p = torch.exp(wide(z) - logsumexp.unsqueeze(1))
#
# There is a trap in this. A saved intermediate result is a constant to autograd. If backward itself is
# differentiated (that is what `check` calls double gradient), the dependence of log-sum-exp on $z$ would be
# lost, without a word. So the page computes it anew in that case:
#
#     if torch.is_grad_enabled():  # differentiated again: it is a function of z, not a constant
#         logsumexp = torch.logsumexp(wide(z), 1)
#
# You saved inputs only, and were safe.
#
# ### Short numbers
#
# `wide` in these lines converts float16 and bfloat16 to float32. bfloat16 has 8 significant bits, so a sum of
# many numbers that is kept in it soon stops growing: from 256 on, adding 1 changes nothing. Take 1000 classes
# with equal scores. The loss must be $\ln 1000 = 6.9078$.

# %%
z, t = torch.zeros(1, 1000, dtype=torch.bfloat16), torch.tensor([0])
total = torch.zeros((), dtype=torch.bfloat16)
for element in torch.exp(z[0]):
    total = total + element
print(f"a sum of 1000 ones, in bfloat16: {total.item():g}; its logarithm {math.log(total.item()):.4f}")
print(f"the library's loss:                    {manualgrad.functional.cross_entropy(z, t).item():.4f}")

# %% [markdown]
# (6.9062 is the number of bfloat16 next to 6.9078.)
#
# ### Options
#
# Three options change the formula a little. `weight` multiplies the loss of an example by a number that
# belongs to its true class, and the mean is divided by the sum of these numbers, not by $N$. `ignore_index`
# names a class that does not count; such examples get the gradient 0, and are not counted in the mean.
# `label_smoothing` replaces the one-hot truth by a mixture: with $\varepsilon = 0.1$, the true class has the
# target $0.9 + 0.1/C$ and all others $0.1/C$. The gradient is still $p$ minus the target.

# %%
cases = {
    "plain": {},
    "weight=(1, 3, 1)": {"weight": torch.tensor([1.0, 3.0, 1.0])},
    "ignore_index=2": {"ignore_index": 2},
    "label_smoothing=0.3": {"label_smoothing": 0.3},
}
for name, options in cases.items():
    z = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]], requires_grad=True)
    manualgrad.functional.cross_entropy(z, torch.tensor([1, 2]), **options).backward()
    rows = ["  ".join(f"{g:7.4f}" for g in row) for row in z.grad.tolist()]
    print(f"{name:20} true class 1: {rows[0]}     true class 2: {rows[1]}")

# %% [markdown]
# Two examples with our scores of the beginning, whose true classes are 1 and 2. In the first line you find
# half of (0.6652, −0.7553, 0.0900), as $N = 2$.
#
# For very many classes, as in a language model, even the matrix of scores is large. The library has
# `LinearCrossEntropyLoss` ([`linear_cross_entropy.py`](../manualgrad/layers/linear_cross_entropy.py)), which
# computes the last linear layer and the loss together.

# %% [markdown]
# ## The question behind
#
# *When is such a network done, and what are its probabilities worth?*
#
# The loss $-\ln p_t$ is never 0. If all training digits are read rightly, one can always lower it by making
# all scores larger: the network becomes surer, not better. The next cell goes on training, and compares how
# sure the network is with how often it is right.

# %%
model, seen = network(), 0
for more in (3, 7, 30):
    lesson.train(model, data, epochs=more, lr=0.1, loss=MyCrossEntropy.apply)
    seen += more
    with torch.no_grad():
        known, new = model(data.images), model(test.images)
    trained = MyCrossEntropy.apply(known, data.labels).item()
    tested = MyCrossEntropy.apply(new, test.labels).item()
    certainty = 100 * MySoftmax.apply(new).amax(1).mean().item()
    print(
        f"{seen:2} times through: loss {trained:.4f} on training digits, {tested:.4f} on test digits, "
        f"{lesson.accuracy(model, test):.1f} % right, {certainty:.1f} % sure"
    )

# %% [markdown]
# Compare the last two lines. The loss on the training digits falls to a fourteenth, and more test digits are
# right. But the loss on the test digits *rises*, and the network is now surer of itself (97 %) than it should
# be (95 %): the mistakes that are left are made with ever more certainty.
#
# - Guo, Pleiss, Sun and Weinberger (2017, arXiv:1706.04599) found that modern networks are much too sure of
#   themselves, and that dividing all scores by one number after training heals a good part of it.
# - Soudry, Hoffer, Nacson, Gunasekar and Srebro (2018, arXiv:1710.10345) proved, for a linear layer on data
#   that it can separate, where the endless growth leads: slowly, the *direction* of the weights goes to the
#   one with the largest margin between the classes.
# - And is it sure that cross entropy is the right loss? Hui and Belkin (2020, arXiv:2006.07322) trained many
#   architectures with the squared error, on the scores and without softmax, and found them as good or better
#   on most tasks. The reasons that you have seen above hold for the squared error *after* softmax.
#
# What a network's probabilities mean on inputs unlike those that it was trained with is an open question.

# %% [markdown]
# ## What you know now
#
# - Softmax has the derivatives $p_i(\delta_{ij} - p_j)$. Its backward is $p_j (g_j - \sum_i g_i p_i)$; the
#   table is never built. The diagonal alone is a mistake, and the sum of each row shows it.
# - The cross entropy is log-sum-exp minus the true class's score. Its gradient is $(p - \text{one-hot})/N$.
# - Subtract the maximum before the exponential, and take the logarithm of the sum, never of a probability.
# - With the squared error after a softmax, what is surely wrong does not learn. Cross entropy pulls hardest
#   just there.
# - A saved intermediate result is a constant when backward is differentiated again; inputs and outputs are
#   not.
#
# Two more exercises, without solution:
#
# 1. Write `LogSoftmaxFunction`, which returns $z_i - \ln \sum_k e^{z_k}$ and saves its output. Show that its
#    backward is $g_j - p_j \sum_i g_i$, and let `check` judge it.
# 2. Give `CrossEntropyFunction` a third argument, a number $T$ by which all scores are divided first (a
#    *temperature*). Which gradient has $z$, and which has $T$, if $T$ is a tensor?
#
# Next: [lesson 5](05_mlp.ipynb), a whole network by hand.
