# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 12. Swap a real network, and find who is responsible for a digit
#
# Lesson 1 asked which weight is responsible for an error. In this last lesson you ask the same of a network
# that reads digits, and not only of its weights: which *pixels* made it say 7? At the end you can give any
# model of PyTorch hand-written derivatives, draw what they say about an image, test whether the picture tells
# the truth, and mend a digit that was misread, through a single weight.
#
# Needs: lesson 4 (softmax and cross entropy), lesson 6 (convolution), and what an integral is. Lesson 10
# helps. Time: about 60 minutes.

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
from torch import nn

import manualgrad
from manualgrad import check

lesson.style()

# %% [markdown]
# ## The idea
#
# To learn, a network needs the gradient of its loss by its weights. On the way to the first layer's weights
# the backward pass comes close to the image, and stops: nobody wants to change the image. Let it take one
# more step, and it says for each pixel: if this one were a little brighter, how would the answer change?
#
# That is a picture of the same size as the image. We call it the *input gradient*. Here is a network, written
# with plain `torch.nn` and trained as usual. (It takes about ten seconds.)

# %%
train, test = lesson.digits(train=60_000, test=2_000)
torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)),
)
lesson.train(model, train, epochs=1.5, lr=0.05, momentum=0.9)
print(f"{lesson.accuracy(model, test):.1f} % of the test digits are read rightly")

# %% [markdown]
# And here is what it says about four digits. For now we take the gradient of the digit's *logit*, the number
# that the last layer gives to it. Red: brighter here, and the logit rises. Blue: brighter here, and it falls.

# %%
images, labels = test.images[:100], test.labels[:100]
x = images[:4].clone().requires_grad_()
logits = model(x)
(gradient,) = torch.autograd.grad(logits.gather(1, labels[:4, None]).sum(), x)


def rows_of_pictures(rows, titles=None):
    """A row of pictures for each name; blue is negative, red positive, and what is called digit is grey."""
    count = len(next(iter(rows.values())))
    figure, axes = plt.subplots(len(rows), count, figsize=(1 + 1.02 * count, 1.1 * len(rows)), squeeze=False)
    for axis_row, (name, pictures) in zip(axes, rows.items()):
        for axis, picture in zip(axis_row, pictures[:, 0]):
            largest = picture.abs().max()
            limits = {} if "digit" in name else {"vmin": -largest, "vmax": largest}
            axis.imshow(picture, cmap="gray" if "digit" in name else "RdBu_r", **limits)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.grid(False)
        axis_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, title in zip(axes[0], titles or []):
        axis.set_title(title, fontsize=9)
    plt.show()


rows_of_pictures({"digit": x.detach(), "gradient": gradient})

# %% [markdown]
# Something of the digit is there, but it is hard to read. Three questions remain, and this lesson answers
# them:
#
# 1. The gradient *of what*? The logit of 7 also rises if all logits rise, and that changes no answer.
# 2. A gradient says what a *small* change does. How much of the answer is owed to each pixel that is there?
# 3. How do we know that a picture tells the truth?
#
# ## By hand
#
# A network of two pixels: $m = \min(2 x_1 + x_2,\, 3)$. It counts evidence, and at 3 it is sure and stops
# counting. Take the image $x = (2, 1)$, and compare it with the empty image $(0, 0)$.
#
# **The answer.** $2 \cdot 2 + 1 = 5$, which is above 3, so $m = 3$. For the empty image $m = 0$. So the
# pixels together are responsible for $3 - 0 = 3$. How much of it is whose?
#
# **The gradient** at $x$ is $(0, 0)$: a little more or less of either pixel changes nothing, as 5 is far
# above 3. Read as blame, it says that nobody was responsible. Gradient times pixel says the same:
# $0 \cdot 2 = 0$ and $0 \cdot 1 = 0$.
#
# **Along a way.** Let the image appear slowly: $t \cdot (2, 1)$, where $t$ grows from 0 to 1. Then
# $m = \min(5t, 3)$. Until $t = 0.6$ it grows, and the gradient by the pixels is $(2, 1)$. After that it is
# $(0, 0)$. The mean of the gradient along the way is
#
# $$0.6 \cdot (2, 1) + 0.4 \cdot (0, 0) = (1.2,\ 0.6) .$$
#
# Times the pixels: $1.2 \cdot 2 = 2.4$ and $0.6 \cdot 1 = 0.6$. Together that is $3$, exactly what there
# was to be shared out.

# %%
x = torch.tensor([2.0, 1.0])
total = torch.zeros(2)
for t in (torch.arange(1000) + 0.5) / 1000:  # the middles of 1000 short pieces of the way
    point = (t * x).requires_grad_()
    m = torch.clamp(2 * point[0] + point[1], max=3)
    total += torch.autograd.grad(m, point)[0]
shares = x * total / 1000
print("shares:", shares.tolist(), "together:", round(shares.sum().item(), 4))
assert torch.allclose(shares, torch.tensor([2.4, 0.6]), atol=1e-4)

# %% [markdown]
# ## The derivation
#
# ### The gradient of what?
#
# Let $z_1, \dots, z_K$ be the logits of $K$ classes ($K = 10$ digits), and $c$ the class that we ask about.
# Softmax makes probabilities of them (lesson 4): $p_c = e^{z_c} / \sum_j e^{z_j}$. How sure is the network of
# $c$, *as against all others*? We take the logarithm of the odds, the probability for divided by the
# probability against:
#
# $$m = \log \frac{p_c}{1 - p_c} .$$
#
# As $1 - p_c = \sum_{j \ne c} e^{z_j} \big/ \sum_j e^{z_j}$ has the same denominator, that one cancels:
#
# $$m = \log \frac{e^{z_c}}{\sum_{j \ne c} e^{z_j}} = z_c - \log \sum_{j \ne c} e^{z_j} .$$
#
# $m$ is called the **log-odds**. It is 0 when the network is undecided between $c$ and the rest, positive
# when it believes in $c$, and if we add the same number to all logits it stays as it is. That answers
# question 1.
#
# Its gradient by the logits. By $z_c$: the second term does not contain it, so
#
# $$\frac{\partial m}{\partial z_c} = 1 .$$
#
# By another logit $z_j$, $j \ne c$: the derivative of $\log s$ is $1/s$, and of
# $s = \sum_{i \ne c} e^{z_i}$ by $z_j$ it is $e^{z_j}$. So
#
# $$\frac{\partial m}{\partial z_j} = - q_j, \qquad q_j = \frac{e^{z_j}}{\sum_{i \ne c} e^{z_i}} .$$
#
# The $q_j$ are the softmax of the *other* logits: they say which other class is the rival. If
# $g = \partial L / \partial m$ is what arrives, the backward is
#
# $$\boxed{\;\frac{\partial L}{\partial z_c} = g, \qquad \frac{\partial L}{\partial z_j} = -g\, q_j
# \quad (j \ne c)\;}$$
#
# ### From small changes to shares
#
# Write $m(x)$ for the log-odds of the image $x$ with pixels $x_1, x_2, \dots$ Choose an image $x^0$ to
# compare with; we take the empty, black one. Walk from $x^0$ to $x$ in a straight line:
# $F(t) = m(x^0 + t (x - x^0))$, $t$ from 0 to 1. The chain rule says how $m$ changes on the way. Pixel $i$
# moves at the speed $x_i - x^0_i$, so
#
# $$F'(t) = \sum_i (x_i - x^0_i) \, \frac{\partial m}{\partial x_i}\bigl(x^0 + t (x - x^0)\bigr) .$$
#
# The integral of $F'$ from 0 to 1 is $F(1) - F(0)$. Put the sum in front of the integral, and each pixel
# has its share:
#
# $$m(x) - m(x^0) = \sum_i a_i, \qquad
# a_i = (x_i - x^0_i) \int_0^1 \frac{\partial m}{\partial x_i}\bigl(x^0 + t (x - x^0)\bigr)\, dt .$$
#
# The $a_i$ are called **integrated gradients**. The shares sum up to all that there was to be shared, which
# is called *completeness*. In a program the integral is a mean over $T$ points in the middle of $T$ pieces
# of the way, $t = \frac{1/2}{T}, \frac{3/2}{T}, \dots$ With $T = 1$ that is one gradient, halfway. If one
# takes one gradient at the end of the way instead, one gets **gradient times input**,
# $(x_i - x^0_i) \, \partial m/\partial x_i$, which is cheap, and not complete.
#
# ### The worst change
#
# Change each pixel by at most $\varepsilon$: by $\delta_i$ with $|\delta_i| \le \varepsilon$. For a small
# $\varepsilon$, $m$ changes by about $\sum_i \delta_i g_i$, where $g_i = \partial m/\partial x_i$. Each
# term is smallest if $\delta_i$ has the opposite sign of $g_i$ and is as large as allowed:
#
# $$\delta_i = -\varepsilon \operatorname{sign}(g_i), \qquad \text{and then } m \text{ falls by about }
# \varepsilon \sum_i |g_i| .$$
#
# No pixel changes by much, but there are 784, and all of them pull together.
#
# ## Your turn
#
# ### Exercise 1: the log-odds
#
# `logits` is a tensor (B, K): a row for each of B images. `label` holds the $c$ of each row. The forward is
# written: it puts $-\infty$ in the place of $z_c$, and $e^{-\infty} = 0$ leaves it out of the sum.


# %% tags=["exercise"]
class LogOddsFunction(torch.autograd.Function):
    """m = z_c − log Σ_{j≠c} e^(z_j), for each row of logits; c is the row's label."""

    @staticmethod
    def forward(logits, label):
        own = F.one_hot(label, logits.shape[-1]).bool()  # (B, K): true at c
        others = logits.masked_fill(own, -torch.inf)
        return logits.gather(-1, label[..., None]).squeeze(-1) - others.logsumexp(-1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_m):
        logits, label = ctx.saved_tensors
        # Your code: four lines. grad_m is (B,), grad_logits is (B, K), and a label has no gradient.
        raise NotImplementedError("grad_logits = ?")


# %% tags=["check"]
torch.manual_seed(0)
points, classes = torch.randn(4, 5), torch.tensor([0, 1, 4, 1])
check(LogOddsFunction, points, classes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `own` and `others` are needed again: compute them as in `forward`. Then $q$ is one call:
# `others.softmax(-1)` is 0 at $c$, as $e^{-\infty} = 0$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The slopes are 1 where `own` is true, and $-q$ elsewhere: `torch.where(own, 1, -q)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Each row of slopes is to be multiplied with one number of `grad_m`: write `grad_m[..., None]`, which is
# (B, 1).
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class LogOddsSolution(LogOddsFunction):
    @staticmethod
    def backward(ctx, grad_m):
        logits, label = ctx.saved_tensors
        own = F.one_hot(label, logits.shape[-1]).bool()
        q = logits.masked_fill(own, -torch.inf).softmax(-1)  # among the others: 0 at c
        grad_logits = grad_m[..., None] * torch.where(own, 1, -q)
        return grad_logits, None


# %% tags=["choose"]
LogOdds = lesson.choose(LogOddsFunction, LogOddsSolution, points, classes)

# %% [markdown]
# A mistake on purpose, and a likely one: the softmax of *all* logits, as in cross entropy. Each row of the
# right gradient sums up to 0, as adding the same number to all logits changes nothing. Each row of this one
# sums up to $1 - \sum_{j \ne c} p_j$ (times $g$), which is $p_c$.


# %%
class WrongLogOdds(LogOddsFunction):
    @staticmethod
    def backward(ctx, grad_m):
        logits, label = ctx.saved_tensors
        own = F.one_hot(label, logits.shape[-1]).bool()
        p = logits.softmax(-1)
        return grad_m[..., None] * torch.where(own, 1, -p), None


check(WrongLogOdds, points, classes)

# %% [markdown]
# For this mistake the report has no name: it says where the numbers differ, and the rest is yours. If we had
# made the mistake in full, and taken the whole backward from cross entropy, the rows would sum up to 0. Try
# it: return `grad_m[..., None] * (own.to(p.dtype) - p)` in the place of the last line. What does the report
# say that you have left out?
#
# ### Exercise 2: integrated gradients
#
# `gradient_at(image)` is a function that returns $\partial m/\partial x$ at any images. Write the mean
# along the way, times $x - x^0$. No derivative is to be found here, so `check` has nothing to say, but
# completeness does.


# %% tags=["exercise"]
def integrated(gradient_at, x, x0, pieces):
    """The share of each pixel in m(x) − m(x0)."""
    # Your code: for each of the pieces k = 0, 1, ..., the gradient at x0 + (k + 0.5) / pieces · (x − x0).
    raise NotImplementedError("shares = ?")


# %% [markdown]
# The test: $m(x) = \sum_i \sin x_i$, of which we know that pixel $i$ has the share $\sin x_i - \sin x^0_i$.


# %%
def examine(function):
    """Whether ``function`` shares out the sum of sines rightly; prints what it found."""
    x, x0 = torch.tensor([1.0, 2.0, -1.0]), torch.tensor([0.0, 0.5, 0.0])
    try:
        got = function(torch.cos, x, x0, 1000)
    except NotImplementedError as hole:
        print(f"{function.__name__}: not written yet: {hole}")
        return False
    expected = x.sin() - x0.sin()
    right = torch.allclose(got, expected, atol=1e-4)
    print("expected", [round(v, 3) for v in expected.tolist()])
    print("got     ", [round(v, 3) for v in got.tolist()], "ok" if right else "WRONG")
    return right


# %% tags=["check"]
examine(integrated)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A loop: `total = total + gradient_at(...)`, starting with `torch.zeros_like(x)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# At the end, `(x - x0) * total / pieces`. If you are off by a factor, it is the division.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
def integrated_solution(gradient_at, x, x0, pieces):
    total = torch.zeros_like(x)
    for k in range(pieces):
        total = total + gradient_at(x0 + (k + 0.5) / pieces * (x - x0))
    return (x - x0) * total / pieces


# %% tags=["choose"]
if examine(integrated):
    shares_of = integrated
else:
    print("Yours does not pass yet: from here on the solution stands in.")
    shares_of = integrated_solution
    assert examine(shares_of)

# %% [markdown]
# ## On MNIST
#
# ### Swap
#
# One line gives the trained network hand-written derivatives: all its layers, in place. Its numbers stay the
# same, up to rounding.

# %%
before = model(images)
print(manualgrad.swap(model))
after = model(images)
print(f"largest difference of a logit: {(after - before).abs().max().item():.1g}")
torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)

# %% [markdown]
# From here on the whole way back, from the log-odds to the pixel, is written by hand: the layers are the
# library's, and its beginning is yours.


# %%
def log_odds(x, labels):
    return LogOdds.apply(model(x), labels)


def by_pixels(x, labels):
    """∂(log-odds)/∂(pixel)."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(log_odds(x, labels).sum(), x)[0]


black = torch.full_like(images, -0.1307 / 0.3081)  # a pixel without ink, shifted and scaled as all are
maps = {
    "gradient": by_pixels(images, labels),
    "gradient × input": (images - black) * by_pixels(images, labels),
    "integrated": shares_of(lambda x: by_pixels(x, labels), images, black, 50),
}
eight = {"digit": images[:8]} | {name: pictures[:8] for name, pictures in maps.items()}
rows_of_pictures(eight, [f"log-odds {m:.1f}" for m in log_odds(images[:8], labels[:8]).tolist()])

# %% [markdown]
# Where there is no ink, the last two rows have no share to give, as $x_i = x^0_i$ there. Within the
# strokes, red is what speaks for the digit, and blue against it.
#
# Are the shares complete? That depends on how many pieces we cut the way into. The next cell prints how
# much is missing, on average over 100 digits.

# %%
with torch.no_grad():
    to_share = log_odds(images, labels) - log_odds(black, labels)
print(f"to be shared out, on average: {to_share.mean().item():.2f}")
for pieces in (1, 5, 20, 100):
    a = shares_of(lambda x: by_pixels(x, labels), images, black, pieces)
    missing = (a.flatten(1).sum(1) - to_share).abs().mean().item()
    print(f"{pieces:4} pieces: off by {missing:.3f}")
off = (maps["gradient × input"].flatten(1).sum(1) - to_share).abs().mean().item()
print(f"gradient × input: off by {off:.3f}")

# %% [markdown]
# ### Does the picture tell the truth?
#
# That was question 3. If these pixels are responsible, the answer should go when they go. So we erase them:
# make the 40 pixels black that a picture puts first, and read again. As a control, we erase 40 pixels of
# ink at random, and the 40 brightest.

# %%
torch.manual_seed(0)
ink = images > black + 0.001
orders = {
    "ink at random": torch.rand(images.shape) * ink,
    "brightest": images - black,
    "gradient (size, on ink)": maps["gradient"].abs() * ink,
    "gradient × input": maps["gradient × input"],
    "integrated": maps["integrated"],
}


def erased(order, count):
    """The images without the ``count`` pixels where ``order`` is largest."""
    where = order.flatten(1).topk(count).indices
    return images.flatten(1).scatter(1, where, black.flatten(1)).reshape(images.shape)


counts = [0, 5, 10, 20, 30, 40, 60, 80]
for (name, order), color in zip(
    orders.items(), (lesson.GREY, "#b0a000", lesson.BLUE, lesson.ORANGE, lesson.GREEN)
):
    with torch.no_grad():
        logits = [model(erased(order, count)) for count in counts]
    odds = [LogOdds.apply(z, labels).mean().item() for z in logits]
    still = 100 * (logits[5].argmax(1) == labels).float().mean().item()
    print(f"{name:24} 40 pixels erased: {still:3.0f} % read rightly")
    plt.plot(counts, odds, color=color, marker="o", markersize=3, label=name)
plt.axhline(0, color="black", linewidth=0.8)
plt.gca().set(xlabel="pixels erased", ylabel="log-odds, mean", title="Erase what is said to be responsible")
plt.legend(fontsize=8)
plt.show()

# %% [markdown]
# Read the column of numbers. Without 40 pixels of ink, chosen at random, 82 % of the digits are still read
# rightly; without the 40 brightest, 79 %. The size of the gradient does little better, with 72 %: it does not
# know whether a pixel speaks for the digit or against it. Gradient times input and integrated gradients know,
# and with their 40 pixels gone, 28 % are left. At about 20 pixels the network becomes undecided, on average.
# In this sense the two pictures tell the truth.
#
# Integrated gradients are no better here than gradient times input, though they cost 50 backward passes and
# are complete. Completeness says what the shares sum up to; it does not promise that their order is the
# best one.
#
# ### The worst change
#
# Now against the network: each pixel may move by at most $\varepsilon$, in the direction that harms most.
# As a control each pixel moves by $\varepsilon$ up or down at random. (From black to white is a step of
# 3.2, in these shifted and scaled pixels.)

# %%
many, their = test.images[:1000], test.labels[:1000]
slope = by_pixels(many, their)
coin = torch.randn(many.shape).sign()
print("epsilon   at random   against")
for epsilon in (0, 0.1, 0.2, 0.3, 0.5):
    with torch.no_grad():
        random, against = (
            100 * (model(many + epsilon * d).argmax(1) == their).float().mean() for d in (coin, -slope.sign())
        )
    print(f"{epsilon:7}     {random:5.1f} %   {against:5.1f} %")

# %%
attacked = many[:8] - 0.3 * slope[:8].sign()
with torch.no_grad():
    answers = model(attacked).argmax(1).tolist()
rows_of_pictures(
    {"digit": many[:8], "the change": -slope[:8].sign(), "digit, changed": attacked},
    [f"{right}, read as {read}" for right, read in zip(their[:8].tolist(), answers)],
)

# %% [markdown]
# At $\varepsilon = 0.3$, a tenth of the step from black to white, half of the digits are misread. If as
# much is changed at random, nearly none is. You see the change as a grain on the black background, and you
# still read every digit. In the middle row red pixels become brighter and blue ones darker, all by the same
# amount. Where it is white, the gradient is exactly 0, as no ReLU lets anything through, and the pixel
# stays as it was.
#
# ### What would have mended it?
#
# The same gradient helps where the network is wrong. Here are digits that it misreads. We ask for the
# log-odds of the *right* digit, and change every pixel a little in the direction that raises it.

# %%
with torch.no_grad():
    answers = model(test.images).argmax(1)
misread = (answers != test.labels).nonzero()[:, 0]
bad, right = test.images[misread], test.labels[misread]
helpful = by_pixels(bad, right)
print(f"{len(misread)} of {len(test)} digits are misread")
for epsilon in (0.02, 0.05, 0.1, 0.2):
    with torch.no_grad():
        mended = (model(bad + epsilon * helpful.sign()).argmax(1) == right).float().mean().item()
    print(f"changed by {epsilon:4}: {100 * mended:5.1f} % of them are read rightly")
rows_of_pictures(
    {"digit": bad[:8], "gradient": helpful[:8]},
    [f"{a}, read as {b}" for a, b in zip(right[:8].tolist(), answers[misread][:8].tolist())],
)

# %% [markdown]
# Two thirds of them are mended by a change of 0.05, a sixtieth of the step from black to white. Most of
# what is misread lies near the border between two answers. In the pictures red says where more ink would
# have helped, and blue where less.
#
# ### And which weight?
#
# Back to the question of lesson 1, with a network of 52,138 weights. Take the first misread digit. The same
# backward pass gives the gradient of its log-odds by every weight. Which one, moved alone and as little as
# possible, would make the answer right? To raise $m$ from $m < 0$ to 0, a weight with gradient $g$ must
# move by about $-m/g$. So it is the one with the largest $|g|$.

# %%
image, label = bad[:1], right[:1]
m = log_odds(image, label)
gradients = torch.autograd.grad(m.sum(), list(model.parameters()))
print(f"{sum(p.numel() for p in model.parameters())} weights; log-odds of the right digit: {m.item():.2f}")
print("layer           largest gradient of one weight")
for (name, parameter), g in zip(model.named_parameters(), gradients):
    print(f"{name:12} {tuple(parameter.shape)!s:16} {g.abs().max().item():8.3f}")

# %% [markdown]
# Now we move it: by a part of the way, by all of it, and by more, each time from where it was.

# %%
largest = max(range(len(gradients)), key=lambda k: gradients[k].abs().max())
name, parameter = list(model.named_parameters())[largest]
place = gradients[largest].abs().argmax()
g, kept = gradients[largest].flatten()[place].item(), parameter.flatten()[place].item()
step = -m.item() / g
print(f"one weight of {name} is {kept:.3f}")
for factor in (0.1, 0.5, 1, 1.5, 2):
    with torch.no_grad():
        parameter.view(-1)[place] = kept + factor * step
        now, read_as = log_odds(image, label).item(), model(image).argmax().item()
    expected = m.item() + factor * step * g
    print(
        f"it becomes {kept + factor * step:6.3f}   log-odds expected {expected:5.2f}, is {now:5.2f}", end=""
    )
    print(f"   read as {read_as}   accuracy {lesson.accuracy(model, test):.2f} %")
    with torch.no_grad():
        parameter.view(-1)[place] = kept
print(f"as it was: accuracy {lesson.accuracy(model, test):.2f} %")

# %% [markdown]
# For a tenth of the step, the gradient's forecast is right to two digits. For the whole step it promised 0,
# and $-0.30$ came: a gradient is the slope in one place, and the way bends. At twice the step the 4 is read
# as a 4. One weight of 52,138 was enough, and the other digits are read as well as before. It is one of the
# 72 in the first layer, each of which is used at all 784 places of the image, so it has much to say.
#
# This is lesson 1 once more. There two weights were responsible, and you could work out by hand how much.
# Here it is the same question, the same backward pass, and the same answer: a number for each weight.
#
# ## What the library does
#
# **It swaps what it finds, and says what it leaves.** The models of torchvision need no change. Here is
# ResNet-18, 11.7 million weights, with random ones, as we only look at its layers:

# %%
from recipes.compat import import_torchvision

resnet = import_torchvision().models.resnet18().eval()
photo = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    before = resnet(photo)
    print(manualgrad.swap(resnet))
    difference = (resnet(photo) - before).abs().max().item()
print(f"{sum(p.numel() for p in resnet.parameters())} weights")
print(f"largest difference of an output: {difference:.1g}")

# %% [markdown]
# **Every step back is a hand-written one.** When a model has computed, `grad_fn` knows who will compute the
# gradient. We follow it from the log-odds to the pixels, with the layers swapped and not. (With
# `kernels("formula")` we ask for the readable code; by default some layers have a compiled twin.)


# %%
def steps_back(tensor):
    """The names of all steps of the way back."""
    names, waiting = [], [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and "AccumulateGrad" not in node.name():
            names.append(node.name())
            waiting += [parent for parent, _ in node.next_functions]
    return names


with manualgrad.kernels("formula"):
    print("swapped:", *steps_back(log_odds(images[:1], labels[:1])))
manualgrad.unswap(model)
print("\ntorch's:", *steps_back(log_odds(images[:1], labels[:1])))
report = manualgrad.swap(model)

# %% [markdown]
# What is left of torch's own is a view: `Flatten` moves no number and has nothing to derive.
#
# **It does not compute what overflows.** The first formula of the derivation, $\log\frac{p}{1-p}$, is the
# same function on paper. In float32 it is not: if the network is sure, $p$ is rounded to 1, and $1 - p$ to
# 0.

# %%
sure = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
p = sure.softmax(-1)[0, 0]
naive = torch.log(p / (1 - p))
print("log(p / (1 − p)):", naive.item(), " gradient:", torch.autograd.grad(naive, sure)[0].tolist())
ours = LogOdds.apply(sure, torch.tensor([0])).sum()
print("log-odds:        ", round(ours.item(), 4), " gradient:", torch.autograd.grad(ours, sure)[0].tolist())

# %% [markdown]
# The pages `manualgrad/layers/softmax.py` and `manualgrad/layers/cross_entropy.py` take the same care: they
# never divide by a probability, and subtract the largest logit before anything is exponentiated.
#
# ## The question behind
#
# **What is an explanation?** Simonyan, Vedaldi and Zisserman (2013, arXiv:1312.6034) were among the first
# to draw the input gradient of a deep network. Sundararajan, Taly and Yan (2017, arXiv:1703.01365) turned
# the question round: they wrote down what shares should satisfy, completeness among it, and found
# integrated gradients from that. What remains open is the image to compare with. We took black. So a
# missing stroke can never get a share, though a 7 is a 7 also because it is *not* closed below; another
# $x^0$ gives other shares.
#
# Even the test by erasing can be doubted. An image with 40 black holes is unlike any that the network was
# trained with, and perhaps it fails for that reason. Hooker and others (2019, arXiv:1806.10758) train the
# network again on erased images, and find that several popular methods are then no better than chance.
#
# **Why is a network so easy to deceive?** That a change nobody would notice turns the answer was found by
# Szegedy and others (2013, arXiv:1312.6199). Goodfellow, Shlens and Szegedy (2015, arXiv:1412.6572) gave the
# explanation that you derived above, many small changes that pull together, and the step along the sign. How
# to train networks that cannot be deceived, without reading worse, is still open.
#
# ## What you know now
#
# - The backward pass can go on to the pixels, and the gradient there says what a small change would do.
# - Ask for log-odds: they compare with the other classes, and do not saturate as probabilities do.
# - Integrated gradients share out the whole difference to another image; gradient times input is the same
#   with one point of the way.
# - A picture is a claim. Erase what it names, and see whether the answer goes.
# - `manualgrad.swap(model)` gives any PyTorch model hand-written derivatives, and its report says what it
#   left.
#
# Further exercises. (1) Take the mean of 25 gradients at images with a little noise (SmoothGrad), and enter
# it in the contest of erasing. (2) Which of the 64 units before the last layer is responsible for a digit?
# Use gradient times activation, then set the unit to 0 and compare. (3) Repeat the erasing with $x^0$
# white.
#
# This was the last lesson. The first one asked which weight is responsible, in a network of two. You have
# answered it for 52,138, and for the pixels beyond, with a backward pass of which you have written every
# kind of step yourself. [The index](00_index.ipynb) has all lessons; the pages of `manualgrad/layers/` have
# the rest of `torch.nn`, each with its derivation. And `check` is there for the one that you write next.
