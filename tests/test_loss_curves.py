"""Two hundred steps of every recipe, with hand-written derivatives and with torch.nn: the same losses.

A recipe runs with its own network, data, augmentation, optimizer and the schedule of its full length. In
float32 some recipes are chaotic: rounding decides which of two almost equal activations is the larger, or a
learning rate at the edge of stability lets a difference grow, and torch parts from itself as soon, if its
weights are changed by 1e-7. There float64 shows that the derivatives are the same, over all steps, and
float32 as far as it is no matter of chance.
"""

import importlib
from typing import Any

import pytest
import torch
import yaml

from recipes.cli import RECIPES
from recipes.data import MNIST

pytestmark = pytest.mark.kernels
STEPS = 200
# The recipe's batches are larger; these many samples take less time, and show as much.
SOME, FEW = {"batch_size": 32}, {"batch_size": 8}
# No network to fetch weights from; and a quicker one than resnet18.
CHANGED = {"swap_pretrained": {"architecture": "squeezenet1_1", "weights": None}}


class Enough(Exception):  # noqa: N818
    """The steps were made."""


def losses(
    name: str, backend: str, root: str, precision: str, steps: int, data: dict[str, Any]
) -> torch.Tensor:
    """Training losses of a recipe, step by step."""
    # Not at the top: lightning imports only after recipes.
    import lightning.pytorch as pl

    pl.seed_everything(1, verbose=False)
    collected = []

    class Collect(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            collected.append(float(outputs["loss"]))
            if len(collected) == steps:
                raise Enough

    config = yaml.safe_load(RECIPES[name].read_text())
    package, _, model_class = config["model"]["class_path"].rpartition(".")
    options = config["model"]["init_args"] | CHANGED.get(name, {})
    model = getattr(importlib.import_module(package), model_class)(**options, backend=backend)
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Collect()],
        **config["trainer"],
    )
    with pytest.raises(Enough):
        trainer.fit(model, datamodule=MNIST(root, **config["data"] | data))
    return torch.tensor(collected, dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.")
@pytest.mark.parametrize(
    ("name", "precision", "steps", "tolerance", "data"),
    [
        ("lenet5", "32-true", STEPS, 1e-5, SOME),
        ("gru", "32-true", STEPS, 1e-5, SOME),
        ("vit", "32-true", STEPS, 1e-4, SOME),
        ("autoencoder", "32-true", STEPS, 1e-5, SOME),
        ("vae", "32-true", STEPS, 1e-3, SOME),
        ("mlp", "32-true", 30, 1e-4, {}),
        ("mlp", "64-true", STEPS, 1e-9, {}),
        ("lstm", "32-true", 100, 1e-5, {}),
        ("lstm", "64-true", STEPS, 1e-9, FEW),
        ("cnn", "32-true", 10, 1e-3, {}),
        ("cnn", "64-true", STEPS, 1e-9, SOME),
        ("resnet", "32-true", 5, 1e-3, {}),
        ("resnet", "64-true", STEPS, 1e-9, FEW),
        ("swap_pretrained", "64-true", STEPS, 1e-9, {"batch_size": 16}),
    ],
)
def test_backends_have_the_same_loss_curve(
    name: str, precision: str, steps: int, tolerance: float, data: dict[str, Any], data_root: str
) -> None:
    ours, control = (losses(name, b, data_root, precision, steps, data) for b in ("manualgrad", "torch"))
    assert len(ours) == len(control) == steps
    if steps == STEPS:
        # It learns; with random weights the pretrained network has hardly begun to.
        assert control[-20:].mean() < (0.95 if name == "swap_pretrained" else 0.7) * control[:20].mean()
    assert ((ours - control).abs() / control).max() < tolerance


def test_every_recipe_has_its_two_hundred_steps() -> None:
    mark = next(m for m in test_backends_have_the_same_loss_curve.pytestmark if m.name == "parametrize")
    assert {name for name, _, steps, *_ in mark.args[1] if steps == STEPS} == set(RECIPES)
