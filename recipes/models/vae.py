"""A variational autoencoder: a digit as a probability over codes, and new digits from codes drawn at random.

Kingma, Welling 2013, arXiv:1312.6114. A digit x has 784 pixels, black or white (ink, in MNIST). The decoder
gives each the probability p of white for a code z: a Bernoulli likelihood. The encoder gives q(z | x) =
N(μ, σ²), a normal distribution with independent components. Trained is the evidence lower bound on log p(x),
in nats:

    log p(x) ≥ ELBO = E_q[log p(x | z)] − KL(q(z | x) ‖ N(0, 1)),

with one draw of z a digit for the expectation. The two steps between encoder and decoder that are no layers
of torch.nn have derivatives written out here.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manualgrad.function import Function
from recipes.models.autoencoder import perceptron
from recipes.redrawer import Redrawer

__all__ = ["VAE", "DivergenceFunction", "SampleFunction", "divergence", "sample"]


def sample(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """A draw from N(μ, σ²), as a differentiable function of μ and log σ²: z = μ + σ ε with ε from N(0, 1)."""
    return mean + (0.5 * log_variance).exp() * noise


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ_i (μ_i² + σ_i² − 1 − log σ_i²), summed over the last axis; in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)


class SampleFunction(Function):
    """The reparameterization: what is random, ε, depends on no parameter, so that a draw has a gradient.

    Forward    z = μ + σ ε,   σ = e^(λ/2),   λ = log σ²
    Backward   ∂L/∂μ = g      ∂L/∂λ = g ε ∂σ/∂λ = g ε σ / 2
    Saves      log_variance, noise
    """

    @staticmethod
    def forward(mean, log_variance, noise):
        return sample(mean, log_variance, noise)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, log_variance, noise = inputs
        ctx.save_for_backward(log_variance, noise)

    @staticmethod
    def backward(ctx, grad_z):
        log_variance, noise = ctx.saved_tensors
        sigma = (0.5 * log_variance).exp()
        grad_mean = grad_z
        grad_log_variance = grad_z * noise * sigma / 2
        grad_noise = grad_z * sigma if ctx.needs_input_grad[2] else None
        return grad_mean, grad_log_variance, grad_noise


class DivergenceFunction(Function):
    """How far N(μ, σ²) is from N(0, 1).

    Forward    k = ½ Σ_i (μ_i² + e^λ_i − 1 − λ_i),   λ = log σ²
    Backward   ∂L/∂μ_i = g μ_i      ∂L/∂λ_i = g (e^λ_i − 1) / 2
    Saves      mean, log_variance
    """

    @staticmethod
    def forward(mean, log_variance):
        return divergence(mean, log_variance)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_k):
        mean, log_variance = ctx.saved_tensors
        g = grad_k.unsqueeze(-1)
        grad_mean = g * mean
        grad_log_variance = g * (log_variance.exp() - 1) / 2
        return grad_mean, grad_log_variance


class VAE(Redrawer):
    """A variational autoencoder, fully connected: digits as draws from a distribution over codes.

    Pixels in [0, 1] are read as probabilities, and a digit is drawn from them at each look (in validation and
    test with the same draws each time): so -ELBO compares with what the literature calls binarized MNIST.

    Args:
        widths: neurons of the encoder's hidden layers; the decoder's are the same, backward.
        latent: numbers of a code z.
        options: see :class:`~recipes.recipe.Recipe`.
    """

    unit = "-ELBO (nats a digit)"

    def __init__(self, widths: list[int] = [512, 256], latent: int = 32, **options: Any) -> None:  # noqa: B006
        super().__init__(**options)
        if latent < 1 or any(width < 1 for width in widths):
            raise ValueError(f"--model.widths {widths} --model.latent {latent}: give numbers of at least 1")
        sizes = [28 * 28, *widths]
        self.encoder = perceptron([*sizes, 2 * latent])
        self.decoder = perceptron([latent, *sizes[::-1]])
        self.likelihood = nn.BCEWithLogitsLoss(reduction="none")
        ours = self.hparams["backend"] == "manualgrad"
        self.sample = SampleFunction.apply if ours else sample
        self.divergence = DivergenceFunction.apply if ours else divergence

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (B, latent) each, of the codes of images (B, 1, 28, 28)."""
        mean, log_variance = self.encoder(x.to(self.dtype).flatten(1)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """Probabilities of white, (B, 1, 28, 28), for codes (B, latent)."""
        return self.decoder(z).sigmoid().unflatten(1, (1, 28, 28))

    def forward(self, x: Tensor) -> Tensor:
        """The digits (B, 1, 28, 28), drawn again from the means of their codes."""
        return self.decode(self.encode(x)[0])

    def headline(self, split: str, metrics: dict[str, Tensor]) -> str:
        """The bound and its two parts, in nats a digit."""
        parts = (f"{name} {metrics[f'{split}/{name}']:.2f}" for name in ("reconstruction", "divergence"))
        return f"{split} -ELBO {metrics[f'{split}/loss']:.2f} nats (Bernoulli likelihood; {', '.join(parts)})"

    def draw(self, folder: Path) -> None:
        """Draw some digits and what came back, and new digits."""
        from recipes import pictures

        assert self.shown is not None
        x, y = self.shown
        pictures.draw_digits(
            {"digit": x, "drawn again": y},
            folder / "reconstructions.png",
            "Digits, drawn again from their codes",
        )
        generator = torch.Generator().manual_seed(self.seed)
        z = torch.randn(100, self.hparams["latent"], generator=generator)
        with torch.no_grad():
            digits = self.decode(z.type_as(next(self.parameters()))).cpu().unflatten(0, (10, 10))
        title = "New digits, from codes drawn at random (the darker, the likelier ink)"
        pictures.draw_digits(dict(enumerate(digits)), folder / "samples.png", title)

    def _step(self, stage: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        x = torch.bernoulli(batch[0].to(self.dtype)).flatten(1)
        mean, log_variance = self.encode(x)
        z = self.sample(mean, log_variance, torch.randn_like(mean))
        reconstruction = self.likelihood(self.decoder(z), x).sum(dim=1).mean()
        kl = self.divergence(mean, log_variance).mean()
        loss = reconstruction + kl
        self.record(stage, {"reconstruction": reconstruction, "divergence": kl, "loss": loss}, len(x))
        return loss
