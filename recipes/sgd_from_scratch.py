"""The textbook, in thirty lines: forward, loss, backward, and w ← w − α ∂L/∂w."""

from pathlib import Path

import torch
from torch import Tensor

import manualgrad.functional as F
from recipes import mnist

__all__ = ["main"]


def main(
    root: Path = Path("data"), lr: float = 0.1, epochs: int = 5, batch_size: int = 100, seed: int = 1
) -> None:
    """Train two layers on MNIST, without a Trainer, a module or an optimizer.

    Args:
        root: folder with MNIST/raw; fetched into it when missing.
        lr: learning rate α.
        epochs: how often all 60,000 digits are looked at.
        batch_size: digits whose mean loss gives one gradient.
        seed: of the weights and of the order of the digits.
    """
    torch.manual_seed(seed)
    folder, _ = mnist.ensure(root)
    splits = (mnist.load(folder, split) for split in ("train", "t10k"))
    (x, y), (x_test, y_test) = ((images.flatten(1) / 255, labels.long()) for images, labels in splits)

    # The weights: small and random, or all neurons of a layer would stay equal.
    w1, b1 = torch.randn(128, 784) * (2 / 784) ** 0.5, torch.zeros(128)
    w2, b2 = torch.randn(10, 128) * (2 / 128) ** 0.5, torch.zeros(10)
    weights = [w.requires_grad_() for w in (w1, b1, w2, b2)]

    def network(x: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(x, w1, b1)), w2, b2)

    for epoch in range(epochs):
        for batch in torch.randperm(len(x)).split(batch_size):
            loss = F.cross_entropy(network(x[batch]), y[batch])  # forward: how wrong are we?
            gradients = torch.autograd.grad(loss, weights)  # backward: which weight is responsible?
            with torch.no_grad():
                for w, gradient in zip(weights, gradients):
                    w -= lr * gradient  # update: a small step downhill
        with torch.no_grad():
            logits = network(x_test)
        loss, right = F.cross_entropy(logits, y_test), (logits.argmax(dim=1) == y_test).float().mean()
        print(
            f"epoch {epoch + 1}/{epochs}  test loss {loss:.4f}  test accuracy {100 * right:.2f} %", flush=True
        )
