"""EmbeddingBag where torch's is no reference."""

import pytest
import torch
from torch.testing import assert_close

from manualgrad import functional

INDEX = torch.tensor([[3, 3], [3, 1], [0, 1]])


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_each_row_is_divided_by_its_own_frequency(mode):
    """Equal to torch's embedding; torch's embedding_bag takes another row's count behind a repeated index."""
    direction = torch.randn(3, 2, dtype=torch.float64)
    weight = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    bags = functional.embedding_bag(INDEX, weight, mode=mode, scale_grad_by_freq=True)
    rows = torch.nn.functional.embedding(INDEX, weight, scale_grad_by_freq=True)
    expected = rows.sum(1) if mode == "sum" else rows.mean(1)
    assert_close(bags, expected)
    assert_close(*(torch.autograd.grad(y, weight, direction)[0] for y in (bags, expected)))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_inside_vmap_with_offsets(mode):
    """Offsets that nobody can look at: each sample has its own bags."""
    index, offsets = torch.tensor([[0, 1, 1, 3], [2, 2, 0, 1]]), torch.tensor([[0, 1], [0, 4]])
    weight = torch.randn(4, 2, dtype=torch.float64)

    def loss(weight, index, offsets):
        return functional.embedding_bag(index, weight, offsets, mode=mode).sin().sum()

    got = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(weight, index, offsets)
    for k in range(2):
        x = weight.clone().requires_grad_()
        y = torch.nn.functional.embedding_bag(index[k], x, offsets[k], mode=mode)
        assert_close(got[k], torch.autograd.grad(y.sin().sum(), x)[0])


def test_indices_without_a_bag():
    """torch reads past the end of its offsets here."""
    with pytest.raises(RuntimeError, match="offsets has 0 elements, too few for an input with 3 indices"):
        functional.embedding_bag(torch.tensor([0, 1, 2]), torch.randn(4, 2), torch.tensor([]).long())


def test_deprecated_order_of_arguments():
    with pytest.warns(UserWarning, match="indices come first"):
        swapped = functional.embedding_bag(torch.eye(4), INDEX)
    assert_close(swapped, functional.embedding_bag(INDEX, torch.eye(4)))
