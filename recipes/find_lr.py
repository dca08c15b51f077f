"""``python -m recipes find_lr``: Lightning's learning rate finder.

A recipe is trained for some steps under a rate that rises from the smallest to the largest. Suggested is the
rate where the loss, smoothed, falls most steeply on a logarithmic axis; Lightning's own suggestion takes a
linear one, on which the smallest rates are steepest, and is told too. More options are those of fit.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.tuner.tuning import Tuner

from recipes.errors import RecipeError, UsageError
from recipes.tool import Parser, Placed, folder_for

__all__ = ["Finder", "main"]

# The weight of the past in the running mean that Lightning takes of the loss.
SMOOTHING = 0.98


class Finder(Placed):
    """A command line of ``fit`` whose rates are tried.

    Args:
        args: the options of ``fit``.
        folder: where Lightning keeps the weights meanwhile, and takes them away.
        options: ``min_lr``, ``max_lr`` and ``num_training``, the number of steps.
    """

    def __init__(self, args: Sequence[str], folder: Path, **options: Any) -> None:
        self.options = options
        super().__init__(args, folder)

    def fit(self, model: Any, datamodule: Any, **_: Any) -> None:
        """Try the rates."""
        # Nothing of a run is kept: neither checkpoints nor logs.
        setattr(self.trainer, "callbacks", [])  # noqa: B010  (an attribute that Lightning declares elsewhere)
        self.trainer.loggers = []
        self.lr = model.hparams["lr"]
        # The recipe's own schedule starts from it.
        model.hparams["lr"] = self.options["min_lr"]
        found = Tuner(self.trainer).lr_find(model, datamodule=datamodule, update_attr=False, **self.options)
        assert found is not None
        self.rates, self.lightnings = found.results["lr"], found.suggestion()
        # Lightning 2.6 divides the running mean of step k by 1 − β^(k+2): it starts at half of the loss.
        self.losses = [
            loss * (1 - SMOOTHING ** (k + 2)) / (1 - SMOOTHING ** (k + 1))
            for k, loss in enumerate(found.results["loss"])
        ]
        self.suggestion = _steepest(self.rates, self.losses)


def _steepest(rates: Sequence[float], losses: Sequence[float], skip: int = 10) -> float:
    """The rate where the loss falls most steeply against the rate's logarithm, but for the first steps."""
    logarithms, values = torch.tensor(rates[: len(losses)]).log(), torch.tensor(losses)
    slopes = torch.gradient(values, spacing=(logarithms,))[0][skip:-1]
    return rates[skip + int(slopes.nan_to_num(nan=0.0).argmin())] if len(slopes) else rates[0]


def main(argv: Sequence[str]) -> None:
    """Try the rates, print the suggestion and draw the losses."""
    parser = Parser("find_lr", __doc__)
    parser.add_argument("--min_lr", type=float, default=1e-6, help="smallest rate (%(default)s)")
    parser.add_argument("--max_lr", type=float, default=1.0, help="largest rate (%(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="how many (%(default)s)")
    arguments, options = parser.parse_known_args(argv)
    if not 0 < arguments.min_lr < arguments.max_lr or arguments.steps < 20:
        raise UsageError(
            f"--min_lr {arguments.min_lr} --max_lr {arguments.max_lr} --steps {arguments.steps}: give two "
            "rates above 0, the second larger, and at least 20 steps"
        )
    tried = {"min_lr": arguments.min_lr, "max_lr": arguments.max_lr, "num_training": arguments.steps}
    with folder_for("find_lr") as folder:
        finder = Finder(options, folder, **tried)
        name = type(finder.model).__name__.lower()
        if finder.lightnings is None:
            raise RecipeError(
                f"{name}: the loss was finite for too few steps to suggest a rate; lower --max_lr"
            )
    from recipes import pictures

    marks = {
        "suggested, steepest on this axis": finder.suggestion,
        "Lightning's suggestion": finder.lightnings,
        "the recipe's highest rate": finder.lr,
    }
    unit = f"{finder.model.unit}, smoothed"
    pictures.draw_rates(finder.rates, finder.losses, marks, name, unit, folder / "find_lr.png")
    print(
        f"{name}: suggested learning rate {finder.suggestion:.2g}, where the loss falls most steeply on a "
        f"logarithmic axis (Lightning's suggestion, on a linear one: {finder.lightnings:.2g}; the recipe's "
        f"highest: {finder.lr:g})"
    )
    print(f"{folder}/find_lr.png")
