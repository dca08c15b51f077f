"""``python -m recipes export``: a trained network without Lightning and manualgrad.

Into a folder beside the checkpoint go ``weights.pt``, the state_dict of the network of torch.nn, and
``program.pt2``, what the recipe computes as a program of ``torch.export``, for any number of images.
"""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from recipes.data import MEAN, STD
from recipes.errors import RecipeError
from recipes.tool import Parser, load

__all__ = ["export", "main"]


class Forward(nn.Module):
    """What a recipe computes, as a module that holds its layers and nothing of Lightning's."""

    def __init__(self, recipe: nn.Module) -> None:
        super().__init__()
        self.recipe = recipe

    def forward(self, x: Tensor) -> Tensor:
        """The recipe's output for images (B, 1, 28, 28)."""
        return self.recipe(x)


def export(recipe: nn.Module, folder: Path) -> float:
    """Write ``weights.pt`` and ``program.pt2``, read both back, and compare them with the recipe.

    Args:
        recipe: trained, of torch.nn's layers.
        folder: where the files go.

    Returns:
        The largest difference of an output from the recipe's own, for 5 images.

    Raises:
        RecipeError: the folder cannot be written, or what was read back computes something else.
    """
    net = getattr(recipe, "net", recipe)
    weights, program = folder / "weights.pt", folder / "program.pt2"
    example = torch.rand(2, 1, 28, 28)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({name: tensor.detach().clone() for name, tensor in net.state_dict().items()}, weights)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own use of what it deprecated
            exported = torch.export.export(
                Forward(recipe), (example,), dynamic_shapes={"x": {0: Dim("batch")}}
            )
            torch.export.save(exported, program)
            again = torch.export.load(program).module()
    except OSError as error:
        raise RecipeError(f"--out {folder}: {error.strerror}") from None
    x = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        expected, from_program = recipe(x), again(x)
        # Another one, whose weights are zeros until they are read.
        fresh = copy.deepcopy(recipe)
        other = getattr(fresh, "net", fresh)
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.zero_()
        other.load_state_dict(torch.load(weights, weights_only=True))
        difference = max(float((y - expected).abs().max()) for y in (from_program, fresh(x)))
    if not difference <= 1e-5 * max(1.0, float(expected.abs().max())):
        raise RecipeError(f"{folder}: what was written computes something else, by up to {difference:.1e}")
    return difference


def main(argv: Sequence[str]) -> None:
    """Export, and say how to load."""
    parser = Parser("export", __doc__)
    parser.add_argument("--ckpt_path", required=True, metavar="RUN/best.ckpt")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="(default: RUN/export)")
    arguments = parser.parse_args(argv)
    recipe, checkpoint = load(arguments.ckpt_path)
    folder = arguments.out or Path(arguments.ckpt_path).parent / "export"
    difference = export(recipe, folder)
    what = "model.net" if hasattr(recipe, "net") else "model"
    normalized = checkpoint.get("MNIST", {}).get("normalize", True)
    pixels = f"(pixel / 255 - {MEAN}) / {STD}" if normalized else "pixel / 255"
    print(
        f"{folder}: weights.pt, program.pt2; read back, their outputs differ from the recipe's by at most "
        f"{difference:.0e}"
    )
    print(f'{what}.load_state_dict(torch.load("{folder}/weights.pt", weights_only=True))')
    print(f'y = torch.export.load("{folder}/program.pt2").module()(x)  # x (B, 1, 28, 28): {pixels}')
