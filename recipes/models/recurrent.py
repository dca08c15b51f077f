"""An image read row by row, top to bottom, by a recurrent network."""

from typing import Any

from torch import Tensor, nn

from recipes.classifier import Classifier

__all__ = ["GRU", "LSTM"]


class RowReader(nn.Module):
    """Hand a recurrent network the 28 rows of an image, one a step, and its last state to a linear map.

    Args:
        cell: the class of the recurrent network: nn.LSTM or nn.GRU.
        hidden: size of its state.
        layers: how many are stacked.
        dropout: probability of dropping a number between stacked layers.
    """

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        if hidden < 1 or layers < 1 or not 0 <= dropout <= 1:
            raise ValueError(
                f"--model.hidden {hidden} --model.layers {layers} --model.dropout {dropout}: give at least 1 "
                "of both, and a probability"
            )
        self.rnn = cell(28, hidden, layers, batch_first=True, dropout=dropout)
        self.head = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, 28, 28)."""
        outputs, _ = self.rnn(x.squeeze(1))
        return self.head(outputs[:, -1])


class Recurrent(Classifier):
    """What the recipes have in common that read an image row by row.

    Args:
        hidden: size of the state.
        layers: how many are stacked.
        dropout: probability of dropping a number between stacked layers.
        options: see :class:`~recipes.classifier.Classifier`.
    """

    cell: type[nn.LSTM] | type[nn.GRU]

    def __init__(self, hidden: int = 128, layers: int = 1, dropout: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.net = RowReader(self.cell, hidden, layers, dropout)


class LSTM(Recurrent):
    """A long short-term memory that reads 28 rows (Hochreiter, Schmidhuber 1997)."""

    cell = nn.LSTM


class GRU(Recurrent):
    """A gated recurrent unit that reads 28 rows (Cho et al. 2014, arXiv:1406.1078)."""

    cell = nn.GRU
