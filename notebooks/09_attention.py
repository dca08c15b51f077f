# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 9. Attention
#
# In a linear layer, learned weights say how much of each input goes into each output, and they are the same
# for every sample. In attention, the inputs themselves decide. At the end you will know the formula, its
# backward with all five gradients, why there is a $\sqrt d$ in it, and the small identity that made attention
# over very long sequences possible. You will train a small transformer on your own backward, and look at what
# it looks at.
#
# Needs: the linear layer (lesson 2) and softmax (lesson 4); products of matrices. Time: about 75 minutes.

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
from manualgrad.function import wide  # half precision becomes float32; float32 and float64 stay

torch.manual_seed(0)
lesson.style()

# %% [markdown]
# ## The idea
#
# Think of a drawer of cards. Each card has a *key*, which says what it is about, and a *value*, which is what
# it says. You come with a *query*, what you want to know. A dictionary would give you the one card whose key
# equals your query. Attention is softer: it gives you a mixture of all values, and the better a key fits your
# query, the more its value counts.
#
# Query and keys are arrows (vectors of the same length $d$), and "how well they fit" is their dot product:
# large if they point the same way, negative if they point apart. Softmax turns these numbers, the *scores*,
# into weights that are positive and sum to 1. The picture shows one query and five keys in the plane. The
# area of a dot is the weight of its key.

# %%
query = torch.tensor([2.2, 1.4])
keys = torch.tensor([[1.6, 0.4], [0.7, 1.5], [-1.2, 1.0], [-1.0, -1.2], [1.3, -1.3]])
weights = torch.softmax(keys @ query / math.sqrt(2), 0)

figure, axis = plt.subplots(figsize=(6.4, 3.8))
axis.annotate("", query.tolist(), (0, 0), arrowprops={"arrowstyle": "->", "color": "black", "lw": 2})
axis.annotate("query", query.tolist(), (6, 0), textcoords="offset points", va="center")
axis.scatter(*keys.T, s=1500 * weights, color=lesson.BLUE, alpha=0.7)
offsets = [(22, -4), (-18, 18), (8, 4), (8, -10), (12, -4)]  # of the labels, so that none hides another
for k, (key, weight, offset) in enumerate(zip(keys, weights, offsets)):
    axis.plot([0, key[0]], [0, key[1]], color=lesson.BLUE, lw=1)
    label = f"key {k + 1}: {100 * weight:.1f} %"
    axis.annotate(label, key.tolist(), offset, textcoords="offset points", color=lesson.BLUE)
axis.set(xlim=(-2, 3.2), ylim=(-1.7, 2.2), aspect="equal", title="How much each value counts")
plt.show()

# %% [markdown]
# Now there are many of each. A sequence of $N$ *tokens* comes in: words of a sentence, or patches of an
# image. Three linear layers make of each token a query, a key and a value. Then every token asks all tokens.
# The weights form a square table, the *attention matrix*: row $i$ says from where token $i$ takes its new
# value, and each row sums to 1.
#
# Sometimes a token must not look everywhere. A network that learns to guess the next word may not look at the
# words that follow. This is what the *causal mask* is for: token $i$ may look at the tokens up to $i$ only.
# Forbidden scores become $-\infty$ before the softmax, so their weights are $e^{-\infty} = 0$ and the others
# still sum to 1.

# %%
torch.manual_seed(1)
scores = 1.5 * torch.randn(6, 6)
causal = torch.ones(6, 6, dtype=torch.bool).tril()  # True on and below the diagonal
figure, axes = plt.subplots(1, 2, figsize=(7, 3.4))
for axis, z, title in zip(axes, (scores, scores.masked_fill(~causal, -math.inf)), ("no mask", "causal mask")):
    P = torch.softmax(z, -1)
    axis.imshow(P, cmap="Blues", vmin=0, vmax=1)
    for i in range(6):
        for j in range(6):
            colour = "white" if P[i, j] > 0.6 else "black"
            axis.text(j, i, f"{P[i, j]:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axis.set(title=title, xlabel="looks at token", xticks=range(6), xticklabels=range(1, 7))
    axis.set(yticks=range(6), yticklabels=range(1, 7))
    axis.grid(False)
axes[0].set_ylabel("this token")
plt.show()

# %% [markdown]
# ## By hand
#
# Two tokens, and vectors of length $d = 1$, so each query, key and value is one number. The numbers are
# chosen so that the exponentials come out even.
#
# | token | query | key | value |
# |---|---|---|---|
# | 1 | 1 | 0 | 4 |
# | 2 | 0 | $\ln 3$ | 8 |
#
# **Forward.**
#
# - Scores of token 1: $1 \cdot 0 = 0$ and $1 \cdot \ln 3 = \ln 3$. Exponentials: $1$ and $3$. Weights:
#   $\frac14$ and $\frac34$.
# - Scores of token 2: $0$ and $0$. Weights: $\frac12$ and $\frac12$.
# - Outputs: $\frac14 \cdot 4 + \frac34 \cdot 8 = 7$, and $\frac12 \cdot 4 + \frac12 \cdot 8 = 6$.
#
# **Backward.** Let the loss be $L = O_1 + 2 O_2$, the first output plus twice the second. So its derivatives
# by the outputs are $G = (1, 2)$.
#
# - *Values.* Value 1 counts $\frac14$ in output 1 and $\frac12$ in output 2, so its gradient is
#   $\frac14 \cdot 1 + \frac12 \cdot 2 = \frac54$. That of value 2 is
#   $\frac34 \cdot 1 + \frac12 \cdot 2 = \frac74$.
# - *Weights.* A weight multiplies a value. For token 1 the gradients are $1 \cdot 4$ and $1 \cdot 8$; for
#   token 2 they are $2 \cdot 4 = 8$ and $2 \cdot 8 = 16$.
# - *Scores.* Raising one score lowers the other weights, so what counts is how much better a value is than
#   the average that we have already. For token 1, the average of its gradients $(4, 8)$ with its weights is
#   $\frac14 \cdot 4 + \frac34 \cdot 8 = 7$. The gradients of its scores are $\frac14 (4 - 7) = -\frac34$ and
#   $\frac34 (8 - 7) = \frac34$. For token 2 the average is $12$, and we get $\frac12 (8 - 12) = -2$ and
#   $\frac12 (16 - 12) = 2$. Each row sums to 0.
# - *Queries.* Score = query times key. Query 1: $-\frac34 \cdot 0 + \frac34 \ln 3$. Query 2:
#   $-2 \cdot 0 + 2 \ln 3$.
# - *Keys.* Key 1 met both queries: $-\frac34 \cdot 1 - 2 \cdot 0 = -\frac34$. Key 2:
#   $\frac34 \cdot 1 + 2 \cdot 0 = \frac34$.
#
# The next cell lets autograd do the same, and compares.

# %%
ln3 = math.log(3)
Q = torch.tensor([[1.0], [0.0]], requires_grad=True)
K = torch.tensor([[0.0], [ln3]], requires_grad=True)
V = torch.tensor([[4.0], [8.0]], requires_grad=True)
P = torch.softmax(Q @ K.T, -1)
output = P @ V
(output[0] + 2 * output[1]).sum().backward()
print("weights", P.detach().numpy().round(4).tolist(), " outputs", output.detach().numpy().round(4).tolist())
for name, tensor, by_hand in (
    ("Q", Q, [3 / 4 * ln3, 2 * ln3]),
    ("K", K, [-3 / 4, 3 / 4]),
    ("V", V, [5 / 4, 7 / 4]),
):
    print(f"gradient of {name}:", [round(v, 4) for v in tensor.grad.flatten().tolist()])
    assert torch.allclose(tensor.grad.flatten(), torch.tensor(by_hand))

# %% [markdown]
# ## The derivation
#
# | symbol | shape | meaning |
# |---|---|---|
# | $N$, $d$ | | number of tokens; length of a query, key or value |
# | $Q$, $K$, $V$ | $(N, d)$ | queries, keys and values, a row for each token |
# | $M$ | $(N, N)$ | the mask: $0$ where token $i$ may look at token $j$, $-\infty$ where not |
# | $S$ | $(N, N)$ | scores $QK^{\mathsf T}/\sqrt d + M$: $S_{ij} = M_{ij} + \sum_e Q_{ie} K_{je}/\sqrt d$ |
# | $P$ | $(N, N)$ | the weights, a softmax of each row: $P_{ij} = e^{S_{ij}} / \sum_k e^{S_{ik}}$ |
# | $O = PV$ | $(N, d)$ | the outputs: $O_{ie} = \sum_j P_{ij} V_{je}$ |
# | $L$ | | the loss, one number that is computed from $O$ |
# | $G = \partial L/\partial O$ | $(N, d)$ | what backward is given |
#
# We write $\mathrm dV$ for the table of all $\partial L/\partial V_{je}$, and in the same way $\mathrm dP$,
# $\mathrm dS$, $\mathrm dQ$, $\mathrm dK$. The sign $\circ$ multiplies two tables element by element,
# $^{\mathsf T}$ transposes, and $\operatorname{rowsum}$ sums each row to one number. We go backward through
# the three formulas, last one first.
#
# ### 1. Through $O = PV$
#
# $V_{je}$ occurs in $O_{ie}$ for every $i$, with the factor $P_{ij}$. And $P_{ij}$ occurs in $O_{ie}$ for
# every $e$, with the factor $V_{je}$. Multiply by what comes from above and sum over where it occurs:
#
# $$\mathrm dV_{je} = \sum_i P_{ij}\, G_{ie}, \qquad \mathrm dP_{ij} = \sum_e G_{ie}\, V_{je},
# \qquad\text{or}\qquad \mathrm dV = P^{\mathsf T} G, \quad \mathrm dP = G V^{\mathsf T}.$$
#
# ### 2. Through the softmax
#
# Each row stands by itself. From lesson 4: with $\delta_{jk} = 1$ if $j = k$, else $0$,
#
# $$\frac{\partial P_{ij}}{\partial S_{ik}} = P_{ij} (\delta_{jk} - P_{ik}).$$
#
# So a score reaches *all* weights of its row, and we sum over them:
#
# $$\mathrm dS_{ik} = \sum_j \mathrm dP_{ij}\, P_{ij} (\delta_{jk} - P_{ik})
# = P_{ik} \Big( \mathrm dP_{ik} - \sum_j \mathrm dP_{ij} P_{ij} \Big),$$
#
# $$\text{or}\qquad \mathrm dS = P \circ \big( \mathrm dP - \operatorname{rowsum}(\mathrm dP \circ P) \big).$$
#
# From each element of a row the one number of its row is subtracted. This number, the sum, is the average of
# $\mathrm dP$ with the weights of the row, as you saw by hand. Where the mask
# forbids a pair, $P_{ik} = 0$, so $\mathrm dS_{ik} = 0$: nothing flows back, and backward needs no mask of
# its own here.
#
# ### 3. Through $S = QK^{\mathsf T}/\sqrt d + M$
#
# $Q_{ie}$ occurs in $S_{ij}$ for every $j$, with the factor $K_{je}/\sqrt d$; and $K_{je}$ for every $i$,
# with the factor $Q_{ie}/\sqrt d$:
#
# $$\mathrm dQ = \frac{1}{\sqrt d}\, \mathrm dS\, K, \qquad
# \mathrm dK = \frac{1}{\sqrt d}\, \mathrm dS^{\mathsf T} Q .$$
#
# ### Why $\sqrt d$
#
# Suppose the numbers in a query and a key are drawn at random, independently, with mean 0 and variance 1
# (the mean of their squares). Each product $Q_{ie} K_{je}$ then has mean 0 and variance 1, and the variances
# of $d$ independent terms add: a score without the factor has variance $d$, so it is typically of size
# $\sqrt d$. With $d = 256$ the scores of a
# row differ by tens. Softmax turns a difference of 10 into a factor of 22 000: one weight is nearly 1, the
# others nearly 0. And then $P_{ij} (\delta_{jk} - P_{ik})$ is nearly 0 for all of them: no gradient passes.
# Dividing by $\sqrt d$ gives the scores variance 1, whatever $d$ is.
#
# The next cell measures this: 16 keys, random vectors, the largest weight of a row and the size of softmax's
# derivative $P_{ij}(1 - P_{ij})$.

# %%
torch.manual_seed(0)
lengths = [1, 4, 16, 64, 256, 1024]
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3))
for scaled, colour, name in (
    (False, lesson.RED, r"$QK^{\mathsf{T}}$"),
    (True, lesson.BLUE, r"$QK^{\mathsf{T}}/\sqrt{d}$"),
):
    largest, slope = [], []
    for d in lengths:
        z = torch.randn(400, 1, d) @ torch.randn(400, d, 16) / (math.sqrt(d) if scaled else 1)
        P = torch.softmax(z, -1)
        largest.append(P.amax(-1).mean())
        slope.append((P * (1 - P)).sum(-1).mean())
    axes[0].plot(lengths, largest, "o-", color=colour, label=name)
    axes[1].plot(lengths, slope, "o-", color=colour, label=name)
axes[0].set(title="largest of 16 weights", xscale="log", ylim=(0, 1), xlabel="$d$")
axes[1].set(title="slopes of the softmax, summed", xscale="log", ylim=(0, 1), xlabel="$d$")
axes[0].legend()
plt.show()

# %% [markdown]
# ### An identity to remember
#
# There is another way to write the sum in step 2. Put in $\mathrm dP_{ij} = \sum_e G_{ie} V_{je}$, and change
# the order of the sums:
#
# $$\sum_j \mathrm dP_{ij} P_{ij} = \sum_j \sum_e G_{ie} V_{je} P_{ij} = \sum_e G_{ie} \sum_j P_{ij} V_{je}
# = \sum_e G_{ie} O_{ie}, \qquad\text{so}\qquad
# \boxed{\operatorname{rowsum}(\mathrm dP \circ P) = \operatorname{rowsum}(G \circ O)}$$
#
# On the left is a sum over a whole row of an $N \times N$ table. On the right is a sum over the $d$ numbers
# of an output, which is there anyway. Check it by hand: $G \circ O = (1 \cdot 7, 2 \cdot 6) = (7, 12)$, the
# two averages from above. It looks like a small saving. We shall see below what hangs on it.
#
# ## Your turn
#
# `forward` is given. `weights_of` computes $P$. A mask is a table of booleans here, True where a token may
# look. The tables have any number of axes before the last two, for the samples of a batch, and $\mathsf T$
# swaps the last two: `.transpose(-2, -1)`.
#
# What should be saved for backward? You need $P$. But $P$ has $N^2$ numbers for each sample, where $Q$, $K$
# and $V$ have $N d$ each; and as in lesson 7, what is kept ready-made is a constant if backward is
# differentiated again. So `setup_context` saves $Q$, $K$, $V$, and the first line of `backward` computes $P$
# again.
#
# Replace the two lines after "Your code". It is five lines: `grad_v`, then $\mathrm dP$, $\mathrm dS$, then
# `grad_q` and `grad_k`. `P` and `G` are in float32 at least, so multiply them with `wide(v)`, `wide(k)` and
# `wide(q)`: torch refuses to multiply matrices of two kinds of numbers. In float32 you would not notice, but
# `check` tries half precision, too.


# %%
def weights_of(q, k, mask):
    """P = softmax(q kᵀ/√d), where mask, if there is one, is True; in float32 at least."""
    scores = wide(q) @ wide(k).transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.softmax(scores, -1)


# %% tags=["exercise"]
class AttentionFunction(torch.autograd.Function):
    """O = P V, with P = softmax(Q Kᵀ/√d + M).  q, k, v: (..., N, d);  mask: (N, N), booleans, or None."""

    @staticmethod
    def forward(q, k, v, mask):
        return (weights_of(q, k, mask) @ wide(v)).to(q.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_output):
        q, k, v, mask = ctx.saved_tensors
        P = weights_of(q, k, mask)
        G, root = wide(grad_output), math.sqrt(q.shape[-1])
        # Your code, instead of the next two lines: gradients of q, k and v, each of shape (..., N, d).
        grad_q = grad_k = grad_v = None
        raise NotImplementedError("grad_q = ?  grad_k = ?  grad_v = ?")
        return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype), None


# %% [markdown]
# Two samples of four tokens with $d = 3$, and the causal mask. As long as the hole is there, `check` answers
# that backward is not written, and repeats what the hole asks for.

# %% tags=["check"]
torch.manual_seed(0)
q, k, v = torch.randn(2, 4, 3), torch.randn(2, 4, 3), torch.randn(2, 4, 3)
causal = torch.ones(4, 4, dtype=torch.bool).tril()
check(AttentionFunction, q, k, v, causal)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $\mathrm dV$ can be had at once, from $P$ and $G$. For $\mathrm dP$ look at the shapes: which product of `G`
# and `wide(v)` gives a table (N, N)?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `grad_v = P.transpose(-2, -1) @ G`, and `dP = G @ wide(v).transpose(-2, -1)`. For dS, a sum of each row
# that keeps its axis is `.sum(-1, keepdim=True)`.
#
# </details>
#
# <details><summary>Hint 3</summary>
#
# `dS = P * (dP - (dP * P).sum(-1, keepdim=True))`. What remains are two products, each divided by `root`. Do
# not forget to transpose dS in one of them.
#
# </details>


# %% tags=["solution"]
# Folded away. Open it when you have tried.
class AttentionSolution(torch.autograd.Function):
    """O = P V, with P = softmax(S),  S = Q Kᵀ/√d + M.

    Backward   G = ∂L/∂O.   dV = Pᵀ G,   dP = G Vᵀ
               a score reaches all weights of its row:   dS = P ∘ (dP − rowsum(dP ∘ P))
               dQ = dS K/√d,   dK = dSᵀ Q/√d
    """

    forward = staticmethod(AttentionFunction.forward)
    setup_context = staticmethod(AttentionFunction.setup_context)

    @staticmethod
    def backward(ctx, grad_output):
        q, k, v, mask = ctx.saved_tensors
        P = weights_of(q, k, mask)
        G, root = wide(grad_output), math.sqrt(q.shape[-1])
        grad_v = P.transpose(-2, -1) @ G
        dP = G @ wide(v).transpose(-2, -1)
        dS = P * (dP - (dP * P).sum(-1, keepdim=True))
        grad_q = dS @ wide(k) / root
        grad_k = dS.transpose(-2, -1) @ wide(q) / root
        return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype), None


# %% tags=["choose"]
Attention = lesson.choose(AttentionFunction, AttentionSolution, q, k, v, causal)

# %% [markdown]
# ### A mistake, made on purpose
#
# Softmax is sometimes remembered as "$P (1 - P)$, like the sigmoid". That is the derivative of a weight by
# *its own* score, the diagonal of a table. It forgets that raising one score lowers the other weights.


# %%
class WrongDiagonal(torch.autograd.Function):
    forward = staticmethod(AttentionFunction.forward)
    setup_context = staticmethod(AttentionFunction.setup_context)

    @staticmethod
    def backward(ctx, grad_output):
        q, k, v, mask = ctx.saved_tensors
        P, G, root = weights_of(q, k, mask), wide(grad_output), math.sqrt(q.shape[-1])
        dP = G @ wide(v).transpose(-2, -1)
        dS = P * (1 - P) * dP  # each weight by its own score only
        grad_q, grad_k = dS @ wide(k) / root, dS.transpose(-2, -1) @ wide(q) / root
        grad_v = P.transpose(-2, -1) @ G
        return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype), None


check(WrongDiagonal, q, k, v, causal)

# %% [markdown]
# `check` complains of `q` and `k`, names the mistake, and has nothing to say about `v`: its gradient does not
# go through the softmax. Not every mistake is one that the report has a name for. But where it complains of
# *some* of the arguments, ask what these have in common; the mistake is there.
#
# There is a simple sign by which you could have told: the rows of $\mathrm dS$ must sum to 0, because adding
# the same number to all scores of a row changes no weight.
#
# Now make one of your own. Leave out `/ root` in one gradient, or the transpose in `grad_k`, and see what
# `check` says. In the first case it tells you a factor of 1.732, which is $\sqrt 3$, and $d$ is 3 here.
#
# ## On MNIST
#
# We cut each image of 28 by 28 pixels into 16 patches of 7 by 7. Each patch becomes a token: a linear layer
# makes 32 numbers of its 49 pixels. Attention by itself does not know where a patch comes from, as it treats
# all tokens alike; so a learned vector for its position is added.
#
# Another token is put before these 16, one that belongs to no patch: the *class token*. It starts as the same
# learned vector for every image, and at the end, the digit is read from it **alone**. So whatever it knows
# about the image, attention must have brought there.
#
# Here is a block. Three linear layers in one (`qkv`) make queries, keys and values. The 32 numbers are cut
# into 4 *heads* of $d = 8$: each head has its own attention matrix, so a token can look for four things at
# once. The result is added to what was there. Then each token is passed through a small network of two
# layers, for itself.


# %%
class Block(nn.Module):
    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def split(self, x):  # queries, keys, values, each (batch, heads, tokens, d)
        batch, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        return split.permute(2, 0, 3, 1, 4)

    def forward(self, x):
        mixed = Attention.apply(*self.split(x), None)  # every token may look at every other
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.norm2(x))


# %%
class Transformer(nn.Module):
    def __init__(self, block=Block, width=32):
        super().__init__()
        self.patch = nn.Linear(49, width)
        self.class_token = nn.Parameter(0.5 * torch.randn(1, 1, width))
        self.position = nn.Parameter(0.5 * torch.randn(17, width))
        self.blocks = nn.Sequential(block(width), block(width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def tokens(self, images):  # (batch, 1, 28, 28) -> (batch, 17, width)
        patches = images.reshape(-1, 4, 7, 4, 7).transpose(2, 3).reshape(-1, 16, 49)
        start = self.class_token.expand(len(patches), -1, -1)
        return torch.cat([start, self.patch(patches)], 1) + self.position

    def forward(self, images):
        return self.head(self.norm(self.blocks(self.tokens(images))[:, 0]))


# %% [markdown]
# The network has about 20 000 parameters. We train it on 30 000 digits: three times through with a learning
# rate of 0.05, once more with a smaller one. Expect a test accuracy between 93 and 96 %. (This is one random
# start and 2000 test digits, which were also looked at when the network and its learning rates were chosen;
# so a difference of one or two percent means nothing.)
#
# To see that attention does the work, the same network is trained once through the data without it: each
# token then sees itself only.


# %%
class WithoutAttention(Block):
    def forward(self, x):
        return x + self.mlp(self.norm2(x))


train_digits, test_digits = lesson.digits(train=30_000, test=2_000)
torch.manual_seed(0)
model = Transformer()
losses = lesson.train(model, train_digits, epochs=3, lr=0.05, momentum=0.9)
losses += lesson.train(model, train_digits, epochs=1, lr=0.01, momentum=0.9, seed=1)
torch.manual_seed(0)
blind = Transformer(WithoutAttention)
losses_blind = lesson.train(blind, train_digits, epochs=1, lr=0.05, momentum=0.9)
print(sum(p.numel() for p in model.parameters()), "parameters")
print(f"with attention    {lesson.accuracy(model, test_digits):.1f} % right")
print(f"without attention {lesson.accuracy(blind, test_digits):.1f} % right")


# %%
def smooth(losses, window=30):
    return torch.tensor(losses).unfold(0, window, 1).mean(1)


plt.plot(smooth(losses), color=lesson.BLUE, label="with attention")
plt.plot(smooth(losses_blind), color=lesson.RED, label="without")
plt.axvline(3 * (30_000 // 64), color=lesson.GREY, ls=":", label="smaller learning rate")
plt.xlabel("step")
plt.ylabel("loss, mean of 30 steps")
plt.ylim(bottom=0)
plt.legend()
plt.show()

# %% [markdown]
# Without attention the class token is the same for every image, so the best that can be done is to guess.
# With it, the network reads digits.
#
# ### What does it look at?
#
# The attention matrix can be looked at. We take the row of the class token in the second block: 16 weights,
# one for each patch (and one for itself, which is left out). Drawn over the digit, a patch is the darker
# orange the more the class token takes from it. There is a picture for each head.

# %%
chosen = [0, 1, 2]  # digits of the test set
images = test_digits.images[chosen]
with torch.no_grad():
    x = model.blocks[0](model.tokens(images))
    q2, k2, _ = model.blocks[1].split(x)
    P = weights_of(q2, k2, None)  # (digits, heads, 17, 17)
maps = P[:, :, 0, 1:].reshape(len(chosen), 4, 4, 4)  # the row of the class token, as 4 by 4 patches
maps = torch.kron(maps / maps.max(), torch.ones(7, 7))  # each patch 7 by 7 pixels again

figure, axes = plt.subplots(len(chosen), 5, figsize=(7.5, 4.8))
for row, image, heads in zip(axes, images, maps):
    for axis in row:
        axis.imshow(image[0], cmap="gray_r")
        axis.set(xticks=[6.5, 13.5, 20.5], yticks=[6.5, 13.5, 20.5], xticklabels=[], yticklabels=[])
        axis.tick_params(length=0)
    for axis, weight in zip(row[1:], heads):
        axis.imshow(torch.ones(28, 28), cmap="Oranges", vmin=0, vmax=1.4, alpha=0.85 * weight.numpy())
for axis, title in zip(axes[0], ("digit", "head 1", "head 2", "head 3", "head 4")):
    axis.set_title(title)
plt.show()

# %% [markdown]
# Head 3 has found a patch that it looks at for all three digits. Head 4 picks one patch of the 2 and of the
# 1, and hardly prefers any of the 7. Some of the chosen patches are empty, as the one that head 1 takes above
# the 7: that there is no ink in a place says something too. But do not read too much into these pictures.
# This is the second block, and each patch has already taken from others in the first; and with another seed,
# the heads look elsewhere.
#
# ## What the library does
#
# The page is `manualgrad/layers/attention.py`, and `multihead.py` puts the linear layers around it. The
# backward is yours, line by line. Around it there is more.
#
# ### Memory
#
# Write attention in plain torch operations, and autograd keeps $P$. Yours keeps $Q$, $K$ and $V$, and so does
# the library. The cell counts the bytes kept for one head with $d = 64$ and growing $N$.


# %%
from manualgrad.bench.measure import saved_bytes  # counts each piece of memory once

library = manualgrad.functional.scaled_dot_product_attention
print("    N   plain operations       yours     library")
for n in (64, 256, 1024):
    q, k, v = (torch.randn(n, 64, requires_grad=True) for _ in range(3))
    plain = saved_bytes(lambda: weights_of(q, k, None) @ v, ())  # noqa: B023
    yours = saved_bytes(lambda: Attention.apply(q, k, v, None), ())  # noqa: B023
    theirs = saved_bytes(lambda: library(q, k, v), ())  # noqa: B023
    print(f"{n:5} {plain:18,} {yours:11,} {theirs:11,}")

# %% [markdown]
# Four times the tokens are four times the bytes for yours, and towards sixteen times for plain operations,
# because of $P$. The price is that backward computes $P$ again: one of five products of matrices, and the
# softmax. Where Numba is installed, the library's kernel also takes a few heads at a time, so that their
# scores stay in the fast memory next to the processor.
#
# ### Masks and dropout
#
# With a mask, it can happen that a token may look nowhere: its row is $-\infty$ throughout. Softmax then
# divides 0 by 0, and one such row makes the whole network not-a-number. The library gives it the output 0 and
# the gradient 0.

# %%
nowhere = torch.tensor([[True, True], [False, False]])  # token 2 may look at nothing
two = torch.randn(2, 3)
print("yours      ", Attention.apply(two, two, two, nowhere)[1].tolist())
print("the library", library(two, two, two, attn_mask=nowhere)[1].tolist())

# %% [markdown]
# A mask may also be made of numbers that are added to the scores, and then it has a gradient too:
# $\mathrm dM = \mathrm dS$. Dropout sets some weights to 0 at random. This randomness cannot be computed
# again from $Q$ and $K$, so it has to be kept: as booleans, a byte for each pair instead of the four of a
# float32 number.
#
# ### Attention in blocks
#
# One table of $N \times N$ is left: $P$ itself, while it is being used. Can we do without ever holding it? It
# seems that the softmax forbids it, because a weight depends on all scores of its row. Here is how it is
# done. Go through the keys in blocks, and keep for each row three things: the largest score so far, $m$; the
# sum of the exponentials so far, $\ell = \sum_j e^{S_{ij} - m}$; and the output so far, not yet divided by
# $\ell$. When a block brings a larger maximum $m'$, what was summed up before is multiplied by $e^{m - m'}$,
# as if it had been computed with $m'$ from the beginning.
#
# At the end, one number per row is kept for backward, the *log-sum-exp*
# $\lambda_i = m + \ln \ell = \ln \sum_j e^{S_{ij}}$. With it, any single weight can be had at any time,
# without its row: $P_{ij} = e^{S_{ij} - \lambda_i}$. In the code, `total` is $\ell$ and `lse` is $\lambda$.


# %%
def forward_in_blocks(Q, K, V, size):
    root = math.sqrt(Q.shape[1])
    m = torch.full((len(Q), 1), -math.inf)  # largest score so far
    total, out = torch.zeros(len(Q), 1), torch.zeros(len(Q), V.shape[1])
    for Kb, Vb in zip(K.split(size), V.split(size)):
        S = Q @ Kb.T / root  # (N, size)
        larger = torch.maximum(m, S.amax(1, keepdim=True))
        old, E = torch.exp(m - larger), torch.exp(S - larger)
        total, out, m = total * old + E.sum(1, keepdim=True), out * old + E @ Vb, larger
    return out / total, m + total.log()


# %% [markdown]
# Backward goes through the same blocks. For
# $\mathrm dS = P \circ (\mathrm dP - \operatorname{rowsum}(\mathrm dP \circ P))$ it needs a sum over the
# *whole* row, when only a block is there. This is where the identity comes in:
# $\operatorname{rowsum}(G \circ O)$ is the same sum, and is known before the first block.


# %%
def backward_in_blocks(Q, K, V, out, lse, G, size):
    root, dQ, dK, dV = math.sqrt(Q.shape[1]), torch.zeros_like(Q), [], []
    mean = (G * out).sum(1, keepdim=True)  # rowsum(dP ∘ P), before any block of P is there
    for Kb, Vb in zip(K.split(size), V.split(size)):
        P = torch.exp(Q @ Kb.T / root - lse)  # (N, size)
        dS = P * (G @ Vb.T - mean)
        dQ += dS @ Kb / root
        dK.append(dS.T @ Q / root)
        dV.append(P.T @ G)
    return dQ, torch.cat(dK), torch.cat(dV)


# %%
torch.manual_seed(0)
Q, K, V, G = torch.randn(4, 1024, 64).unbind()
blocked, lse = forward_in_blocks(Q, K, V, 64)
in_blocks = backward_in_blocks(Q, K, V, blocked, lse, G, 64)

leaves = [t.clone().requires_grad_() for t in (Q, K, V)]
whole = Attention.apply(*leaves, None)
at_once = torch.autograd.grad(whole, leaves, G)
print(f"output   largest difference {(blocked - whole).abs().max():.1e}")
for name, a, b in zip("QKV", in_blocks, at_once):
    print(f"d{name}       largest difference {(a - b).abs().max():.1e}")

# %% [markdown]
# The same numbers, but for rounding. And what is the largest table that was ever made on the way? The next
# cell listens to all torch functions, and measures their results.


# %%
class Largest(torch.overrides.TorchFunctionMode):
    size = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.size = max(self.size, result.numel() * result.element_size())
        return result


for name, compute in (
    ("at once  ", lambda: weights_of(Q, K, None) @ V),
    ("in blocks", lambda: backward_in_blocks(Q, K, V, *forward_in_blocks(Q, K, V, 64), G, 64)),
):
    with Largest() as largest:
        compute()
    print(f"{name} {largest.size:9,} bytes")

# %% [markdown]
# In blocks, nothing is larger than $Q$, $K$ and $V$ themselves, backward included. If the queries are taken
# in blocks as well, no table of weights is larger than 64 by 64, however long the sequence.
#
# ## The question behind
#
# Attention was put at the centre of a network by Vaswani et al. (2017, arXiv:1706.03762). For years it was
# held that its memory must grow with $N^2$, and many papers looked for something *approximately* like it that
# grows more slowly.
#
# The way out was exact. That a softmax can be computed in one pass, with a running maximum and a running sum,
# was written down by Milakov and Gimelshein (2018, arXiv:1805.02867), as a matter of speed for softmax alone.
# Dao, Fu, Ermon, Rudra and Ré (2022, arXiv:2205.14135) made of it an attention in blocks, forward and
# backward, known as FlashAttention. The surprise was not only the memory. It does *more* arithmetic than the
# plain way, since $P$ is computed twice, and yet is several times faster: on a modern processor, moving a
# large table to memory and back takes longer than computing it anew. What counts as "expensive" in
# backpropagation had changed, and a formula from the derivation, $\operatorname{rowsum}(G \circ O)$, was what
# the new price asked for.
#
# A question that is still open is what the pictures of attention above mean. It is tempting to read them as
# reasons. But one can often find quite different weights that lead to the same answer (Jain and Wallace,
# 2019, arXiv:1902.10186).
#
# ## What you know now
#
# - Attention is a soft look-up: scores from queries and keys, a softmax of each row, an average of the
#   values.
# - Its backward is three steps of matrix products and one softmax: $\mathrm dV = P^{\mathsf T} G$,
#   $\mathrm dP = G V^{\mathsf T}$,
#   $\mathrm dS = P \circ (\mathrm dP - \operatorname{rowsum}(\mathrm dP \circ P))$,
#   $\mathrm dQ = \mathrm dS\, K/\sqrt d$, $\mathrm dK = \mathrm dS^{\mathsf T} Q/\sqrt d$.
# - $\sqrt d$ keeps the scores at variance 1, so that the softmax has slopes.
# - $P$ need not be saved, and need not even exist as a whole: with the log-sum-exp and
#   $\operatorname{rowsum}(G \circ O)$, blocks are enough.
#
# Two more exercises. **Without a class token**: read the digit from the average of all tokens instead, and
# train with and without attention again. How much does attention add now, and why so little? **Causal
# blocks**: extend the two functions in blocks to the causal mask. Which blocks can be left out altogether?
#
# Next: [lesson 10](10_your_own_backward.ipynb), where you write a backward that is not the derivative.
