"""Depth: gradients that vanish, explode, or arrive.

A network of D layers is a chain, h_l = f_l(h_{l−1}), and the chain rule multiplies as many Jacobians as
there are layers between the loss and the layer that wants to learn:

    ∂L/∂h_l = J_{l+1}ᵀ J_{l+2}ᵀ ⋯ J_Dᵀ ∂L/∂h_D        J_l = ∂h_l/∂h_{l−1}

If each factor shrinks a vector to the part c of its length, cᴰ⁻ˡ arrives: 0.5³⁰ = 10⁻⁹, and 1.5³⁰ =
200,000. On a logarithmic axis that is a straight line over the layers, and its slope is log c. Only c ≈ 1
trains a deep network. Below: h has n neurons, z = W h is a layer before its activation, the weights are
independent with mean 0 and variance s², and the index l is left out where it is clear.

**Sigmoid.** J = diag(σ'(z)) W with σ' = σ (1 − σ) ≤ ¼. With s² = 1/n, W keeps the length of a vector on the
average (every component of Wᵀg is a sum of n terms with variance s² g_i²), so that c ≤ ¼: it **vanishes**.

**ReLU** (He et al. 2015). J = diag(z > 0) W. Half of the z are positive, so half of the squares are lost,
which W has to give back: c² = ½ n s², and c = 1 if s² = 2/n, He's initialization. The gain is a factor on
s, and so on c: with gain 2 it **explodes**, as 2ᴰ, and with ½ it vanishes. The signal on the way forward
grows and shrinks by the same rule.

**Batch norm** (Ioffe, Szegedy 2015). ẑ = (z − mean)/std over the batch. Its Jacobian has the factor 1/std:
what the weights (or the flat sigmoid before them) made small is divided by a small number, and W and 1000 W
give the same ẑ. So the gain has no say any more. Here it stands before each sigmoid of the first network,
and c comes near to 1. (Before ReLUs it also levels the scale, but at initialization leaves c ≈ √(π/(π − 1))
≈ 1.21, a mild explosion: Yang et al. 2019.)

**Residual** (He et al. 2016). h ← h + F(h)/√D, so J = 1 + F'/√D. The 1 is a path on which the gradient
comes through as it is, whatever F does to it. With F = W ReLU(h) and He's weights the squared length grows
by 1 + 1/D a layer, and (1 + 1/D)ᴰ < e: by less than √e ≈ 1.65 in all, for any depth.

**What to look for in the pictures.** Layers count from the input (1) to the output. Read from right to
left, the way the gradient goes.

- ``gradients.png``, left: ‖∂L/∂h_l‖ before training. The sigmoid's line falls by orders of magnitude, and
  with it all hope that the first layers learn. Middle: the same after training. What vanished still does,
  since it is not repaired by a gradient that does not arrive. What exploded is gone: the first steps threw
  the weights to NaN. Right: the gain of ReLU, from vanishing to exploding, and how little batch norm cares
  (four dashed lines in one place).
- ``learning.png``: the loss after the same number of steps over the depth. Sigmoid alone learns at best
  when shallow; with batch norm or the identity path the depth hardly matters. That the gradient arrives is
  needed, and not enough: the deep ReLU network is slow, since every layer also makes the digits more alike
  (the mean cosine of two digits' h goes from 0.29 before layer 1 to 0.97 after layer 32; in the residual
  network to 0.40; Schoenholz et al. 2017). ln 10 ≈ 2.3 is the loss of saying "each digit with probability
  1/10".
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator
from torch import Tensor

from manualgrad import nn, optim
from recipes.run import new_folder
from recipes.studies import common
from recipes.studies.common import CHANCE, require, show

__all__ = ["KINDS", "Residual", "gradient_norms", "main", "network"]

# Vanishing blue, stable grey, exploding red.
SHADES = LinearSegmentedColormap.from_list("gain", ["#1f3f98", "#1f3f98", "#595959", "#e8702a", "#b00020"])
GAINS = [0.5, 1.0, 1.5, 2.0]
DEPTHS = [2, 8, 32]
PROBE = 256


class Residual(nn.Module):
    """h + scale · branch(h)."""

    def __init__(self, branch: nn.Module, scale: float) -> None:
        super().__init__()
        self.branch, self.scale = branch, scale

    def forward(self, h: Tensor) -> Tensor:
        return h + self.scale * self.branch(h)


def linear(inputs: int, outputs: int, squares: float) -> nn.Linear:
    """Weights with variance ``squares / inputs``, no offset."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=math.sqrt(squares / inputs))
    nn.init.zeros_(layer.bias)
    return layer


# A layer of width n in a network of depth D, its weights multiplied by the gain g.
KINDS: dict[str, Callable[[int, int, float], nn.Module]] = {
    "sigmoid": lambda n, D, g: nn.Sequential(linear(n, n, g**2), nn.Sigmoid()),
    "ReLU": lambda n, D, g: nn.Sequential(linear(n, n, 2 * g**2), nn.ReLU()),
    "ReLU, weights × 2": lambda n, D, g: nn.Sequential(linear(n, n, 2 * (2 * g) ** 2), nn.ReLU()),
    "batch norm": lambda n, D, g: nn.Sequential(linear(n, n, g**2), nn.BatchNorm1d(n), nn.Sigmoid()),
    "residual": lambda n, D, g: Residual(nn.Sequential(nn.ReLU(), linear(n, n, 2 * g**2)), D**-0.5),
}
COLORS = {
    "sigmoid": "#1f5fa8",
    "ReLU": "#d17a00",
    "ReLU, weights × 2": "#c62828",
    "batch norm": "#7b3fa0",
    "residual": "#1a7f37",
}


def main(
    root: Path = Path("data"),
    depths: list[int] = DEPTHS,
    width: int = 64,
    steps: int = 150,
    lr: float = 0.05,
    gains: list[float] = GAINS,
    batch_size: int = 100,
    digits: int = 5000,
    seed: int = 1,
    folder: Path = Path("runs"),
) -> None:
    """Measure and draw the gradient in every layer of deep networks, and whether they learn.

    Args:
        root: folder with MNIST/raw; fetched into it when missing.
        depths: numbers of hidden layers to train; gradients are drawn for the largest.
        width: neurons of each hidden layer.
        steps: of plain stochastic gradient descent.
        lr: learning rate of all networks.
        gains: factors on the weights of the ReLU network, for the third panel.
        batch_size: digits whose mean loss gives one gradient.
        digits: how many to train on.
        seed: of the weights and of the batches.
        folder: where to make depth/DATE_TIME, with the pictures and tables.
    """
    require(bool(depths) and min(depths) > 1, f"--depths {depths}: give numbers of layers, each at least 2")
    for gain in gains:
        require(math.isfinite(gain) and gain > 0, f"--gains: {gain:g} is no gain; give numbers above 0")
    require(bool(gains), "--gains []: give at least one, such as [1.0]")
    require(math.isfinite(lr) and lr > 0, f"--lr {lr:g}: give a number above 0")
    for name, value in {"width": width, "steps": steps}.items():
        require(value > 0, f"--{name} {value}: give a number above 0")
    require(batch_size > 1, f"--batch_size {batch_size}: batch norm needs at least 2 digits")
    depths = sorted(set(depths))
    deepest = depths[-1]

    x, y = common.digits(root, "train", digits)
    chosen, probe = common.batches(digits, batch_size, steps, seed), (x[:PROBE], y[:PROBE])
    before: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    final: dict[str, list[float]] = {}
    with common.formulas():
        print(f"{steps} steps of {batch_size} digits, learning rate {lr:g}, width {width}")
        print(f"{'':17}  gradient, a layer  loss at depth {', '.join(map(str, depths))}", flush=True)
        for kind in KINDS:
            final[kind] = []
            for depth in depths:
                model = network(kind, depth, width, seed)
                before[kind] = gradient_norms(model, *probe)
                final[kind].append(train(model, x, y, chosen, lr))
                after[kind] = gradient_norms(model, *probe)
            losses = ", ".join(show(loss) for loss in final[kind])
            print(f"{kind:17}  × {factor(before[kind]):<15.3g}  {losses}", flush=True)
        sweeps = {
            kind: [gradient_norms(network(kind, deepest, width, seed, gain), *probe) for gain in gains]
            for kind in ("ReLU", "batch norm")
        }

    out = new_folder(folder, "depth", "--folder")
    draw_gradients(before, after, sweeps, gains, steps, out / "gradients.png")
    draw_learning(final, depths, steps, out / "learning.png")
    tables = [("before", kind, 1.0, norms) for kind, norms in before.items()]
    tables += [("after", kind, 1.0, norms) for kind, norms in after.items()]
    tables += [("before", kind, gain, norms) for kind in sweeps for gain, norms in zip(gains, sweeps[kind])]
    rows = [
        (when, kind, gain, layer, norm)
        for when, kind, gain, norms in tables
        for layer, norm in enumerate(norms, 1)
    ]
    common.write_csv(out / "gradients.csv", ["training", "kind", "gain", "layer", "gradient_norm"], rows)
    rows = [(kind, depth, loss) for kind in final for depth, loss in zip(depths, final[kind])]
    common.write_csv(out / "learning.csv", ["kind", "depth", "loss"], rows)
    print(conclusion(before, final, deepest))
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}", flush=True)


def network(kind: str, depth: int, width: int, seed: int, gain: float = 1.0) -> nn.Sequential:
    """A linear map from 784 pixels, ``depth`` layers of ``kind``, a linear map to 10 logits."""
    torch.manual_seed(seed)
    layers = [KINDS[kind](width, depth, gain) for _ in range(depth)]
    return nn.Sequential(nn.Flatten(), linear(784, width, 1), *layers, linear(width, 10, 1))


def gradient_norms(model: nn.Sequential, x: Tensor, y: Tensor) -> list[float]:
    """‖∂L/∂h_l‖ of every layer l of a :func:`network`, from input to output; L is the digits' mean loss.

    A hook on each layer sees the gradient of its output when it comes by. Nothing else is kept.
    """
    norms: list[float] = []

    def note(layer: nn.Module, grad_input: Any, grad_output: Any) -> None:
        # In float64: squares of what vanishes would be 0 in float32.
        norms.append(grad_output[0].double().norm().item())

    hooks = [layer.register_full_backward_hook(note) for layer in list(model)[2:-1]]
    nn.CrossEntropyLoss()(model(x), y).backward()
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    return norms[::-1]


def train(model: nn.Module, x: Tensor, y: Tensor, batches: Tensor, lr: float) -> float:
    """Train with plain stochastic gradient descent.

    Returns:
        The mean loss of the last tenth of the batches, nats; NaN as soon as a loss is no number.
    """
    optimizer, loss_of = optim.SGD(model.parameters(), lr=lr), nn.CrossEntropyLoss()
    losses = []
    for batch in batches:
        loss = loss_of(model(x[batch]), y[batch])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            return math.nan
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def factor(norms: Sequence[float]) -> float:
    """What a layer multiplies the gradient by on its way down, the geometric mean of all layers."""
    return (norms[0] / norms[-1]) ** (1 / (len(norms) - 1)) if norms[-1] else math.nan


def conclusion(before: dict[str, list[float]], final: dict[str, list[float]], depth: int) -> str:
    """What the study found, in a sentence."""
    parts = [f"{kind} × {norms[0] / norms[-1]:.2g}" for kind, norms in before.items() if norms[-1]]
    learned = [kind for kind, losses in final.items() if losses[-1] < 0.75 * CHANCE]
    return (
        f"From layer {depth} down to layer 1 the gradient is multiplied by: {'; '.join(parts)}. "
        f"At depth {depth} learned (loss below ¾ ln 10): {', '.join(learned) or 'none'}."
    )


def draw_gradients(
    before: dict[str, list[float]],
    after: dict[str, list[float]],
    sweeps: dict[str, list[list[float]]],
    gains: Sequence[float],
    steps: int,
    path: Path,
) -> None:
    """Draw the gradients over the layers: before and after training, and for several gains."""
    figure = Figure(figsize=(20, 6.6), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    # Those that arrive are far from those that do not: the axis shows all of them, but not what is 0 or NaN.
    shown = np.array([*before.values(), *sweeps["ReLU"], *sweeps["batch norm"]])
    shown = shown[np.isfinite(shown) & (shown > 0)]
    for axes in panels:
        axes.set(yscale="log", ylim=(shown.min() / 10, shown.max() * 10), xlim=(1, len(before["ReLU"])))
    for axes, norms, title in zip(panels, (before, after), ("before training", f"after {steps} steps")):
        ends = []
        for kind, line in norms.items():
            draw_line(axes, line, COLORS[kind], "-")
            ends.append((line[0], kind if np.isfinite(line).all() else f"{kind}: NaN", COLORS[kind]))
        axes.set_title(f"The gradient in each layer, {title}", size=13)
        common.label_lines(axes, ends, left=True)
    ends = []
    for i, gain in enumerate(gains):
        color = SHADES(0.5 + 0.5 * np.clip(np.log2(gain), -1, 1))
        draw_line(panels[2], sweeps["ReLU"][i], color, "-")
        draw_line(panels[2], sweeps["batch norm"][i], color, "--")
        ends.append((sweeps["ReLU"][i][0], f"gain {gain:g}: {fate(sweeps['ReLU'][i])}", color))
    common.label_lines(panels[2], ends, left=True)
    panels[2].plot([], [], color="0.35", label="ReLU")
    panels[2].plot([], [], "--", color="0.35", label="batch norm, the same gains")
    panels[2].legend(loc="lower right", fontsize=11)
    panels[2].set_title("The scale of the weights, before training", size=13)
    for axes in panels:
        axes.set_xlabel(r"layer $l$, from input to output (the gradient comes from the right)")
        axes.yaxis.tick_right()
        axes.yaxis.set_major_locator(LogLocator(numticks=14))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_label_position("right")
        axes.tick_params(labelright=True)
        axes.set_ylabel(r"gradient that arrives, $\Vert\partial L/\partial h_l\Vert$")
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120)


def draw_learning(final: dict[str, list[float]], depths: Sequence[int], steps: int, path: Path) -> None:
    """Draw the loss after training over the depth, a line for each kind."""
    figure = Figure(figsize=(9.5, 6), layout="constrained")
    axes = figure.subplots()
    finite = [loss for losses in final.values() for loss in losses if math.isfinite(loss)]
    low, roof = 0.5 * min([CHANCE, *finite]), 4 * CHANCE
    axes.set(xscale="log", yscale="log", ylim=(low, roof), xlim=(0.9 * depths[0], 1.1 * depths[-1]))
    axes.axhline(CHANCE, color="0.35", linestyle=":", label="chance: ln 10")
    ends = []
    for kind, losses in final.items():
        heights = [min(loss, 0.8 * roof) if math.isfinite(loss) else 0.8 * roof for loss in losses]
        axes.plot(depths, heights, color=COLORS[kind], linewidth=2.4)
        for depth, height, loss in zip(depths, heights, losses):
            lost = not loss < 0.8 * roof
            axes.plot(depth, height, "X" if lost else "o", color=COLORS[kind], markersize=12 if lost else 8)
        ends.append((heights[-1], kind, COLORS[kind]))
    axes.plot([], [], "X", color="0.35", markersize=11, linestyle="none", label="diverged (NaN)")
    axes.legend(loc="lower center", ncols=2)
    axes.xaxis.set_major_locator(FixedLocator(depths))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="depth: hidden layers", ylabel="loss of the last batches (nats)")
    axes.set_title(f"Does it learn? The loss after {steps} steps, by depth", size=13)
    axes.grid(alpha=0.25)
    common.label_lines(axes, ends)
    figure.savefig(path, dpi=120)


def draw_line(axes: Axes, norms: Sequence[float], color: Any, style: str) -> None:
    """Draw a network's gradients; what is 0, inf or NaN has no place on a logarithmic axis."""
    values = np.array(norms)
    values[~(np.isfinite(values) & (values > 0))] = np.nan
    axes.plot(range(1, len(values) + 1), values, style, color=color, linewidth=2.4)


def fate(norms: Sequence[float]) -> str:
    """One word for what becomes of the gradient: by 100 times smaller or larger it vanishes or explodes."""
    ratio = norms[0] / norms[-1] if norms[-1] else math.nan
    return "explodes" if not ratio < 100 else "vanishes" if ratio < 0.01 else "stable"
