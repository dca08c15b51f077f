"""``python -m recipes find_lr``: Lightning's learning rate finder.

A recipe is trained for some steps under a rate that rises from the smallest to the largest; suggested is the
rate where the loss, smoothed, falls most steeply. More options are those of fit.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.tuner.tuning import Tuner

from recipes.cli import RecipeError, UsageError
from recipes.tool import Parser, Placed, folder_for

__all__ = ["Finder", "main"]


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
        self.rates, self.losses = found.results["lr"], found.results["loss"]
        self.suggestion = found.suggestion()


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
        if finder.suggestion is None:
            raise RecipeError(
                f"{name}: the loss was finite for too few steps to suggest a rate; lower --max_lr"
            )
    from recipes import pictures

    pictures.draw_rates(
        finder.rates,
        finder.losses,
        finder.suggestion,
        finder.lr,
        name,
        finder.model.unit,
        folder / "find_lr.png",
    )
    print(
        f"{name}: suggested learning rate {finder.suggestion:.2g} (the recipe's highest: {finder.lr:g}); "
        f"use it with --model.lr {finder.suggestion:.2g}"
    )
    print(f"{folder}/find_lr.png")
