"""What is no tensor, or one of numbers that a layer does not take, is refused as torch refuses it.

Each input of each layer is replaced by something else. Nothing may be computed from it where torch computes
nothing, and the error is of torch's type, with two exceptions: what is no tensor is always a TypeError, which
names the argument (torch's are sometimes AttributeErrors of its own code), and so are complex numbers, for
which there are no derivatives here.
"""

from collections.abc import Callable

import pytest
import torch
from rows import DERIVED_ROWS
from torch import Tensor

from manualgrad import functional, nn
from manualgrad.catalog import Case, Layer
from manualgrad.layers import arithmetic, rnn_cell

NO_TENSOR: dict[str, Callable[[Tensor], object]] = {
    "list": Tensor.tolist,
    "None": lambda x: None,
    "ndarray": lambda x: x.detach().numpy(),
}
DTYPES = {
    "complex": torch.complex128,
    "integer": torch.int64,
    "boolean": torch.bool,
    "half": torch.float16,
}

# Where torch's answer is another, by layer and kind, and why it stays so.
SUMS_IN_FLOAT32 = "torch has no kernel for float16 on the CPU; here its sums are taken in float32"
NO_GRADIENT = "torch computes on integers, of which there is no derivative; here the dtype is refused"
ONE_ERROR = "refused in both; which error torch raises depends on the kernel that it happens to reach"
DIFFERENT = {
    ("Conv1d", "boolean"): ONE_ERROR,
    ("Conv2d", "boolean"): ONE_ERROR,
    ("Conv3d", "boolean"): ONE_ERROR,
    ("ConvTranspose1d", "boolean"): ONE_ERROR,
    ("ConvTranspose2d", "boolean"): ONE_ERROR,
    ("ConvTranspose3d", "boolean"): ONE_ERROR,
    ("EmbeddingBag", "boolean"): ONE_ERROR,
    ("Fold", "boolean"): NO_GRADIENT,
    ("HingeEmbeddingLoss", "integer"): NO_GRADIENT,
    ("LocalResponseNorm", "integer"): NO_GRADIENT,
    ("Unfold", "boolean"): NO_GRADIENT,
    ("CTCLoss", "half"): SUMS_IN_FLOAT32,
    ("LPPool3d", "half"): SUMS_IN_FLOAT32,
    ("LocalResponseNorm", "half"): SUMS_IN_FLOAT32,
    ("MultiLabelMarginLoss", "half"): SUMS_IN_FLOAT32,
    ("MultiMarginLoss", "half"): SUMS_IN_FLOAT32,
    **{
        ("LSTM", kind): "torch does not check the dtype of a packed sequence for LSTM; RNN and GRU do"
        for kind in ("integer", "boolean", "half")
    },
}


def first_cases(row: Layer, kind: str) -> list[Case]:
    """A few cases with elements in every input. What ``arrange`` takes apart is a tensor."""
    cases = [case for case in row.cases if all(0 not in sample.shape for sample in case.inputs)]
    return [case for case in cases if not (case.arrange and kind in NO_TENSOR)][:4]


def raised(module, inputs: list, case: Case) -> Exception | None:
    """What ``module`` raises, if it does."""
    torch.manual_seed(0)
    try:
        module(*inputs, **case.forward)
    except Exception as error:
        return error
    return None


def complaint(kind: str, theirs: Exception | None, ours: Exception | None) -> str:
    """What is wrong with our answer, or nothing."""
    if theirs is None and ours is None:
        return ""  # as torch does, for instance without an optional mask
    if kind == "None" and not isinstance(theirs, (TypeError, AttributeError)):
        expected, said = type(theirs), ""  # a combination of arguments that does not go together
    elif kind in NO_TENSOR:
        expected, said = TypeError, "to be a Tensor"
    elif kind == "complex":
        expected, said = TypeError, "complex tensors have no hand-written derivative here"
    else:
        expected, said = type(theirs), ""
    return "" if type(ours) is expected and said in str(ours) else f"torch {theirs!r}, but ours {ours!r}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*NO_TENSOR, *DTYPES])
@pytest.mark.parametrize("row", DERIVED_ROWS)
def test_other_inputs_are_refused(row, kind):
    complaints = []
    for case in first_cases(row, kind):
        torch.manual_seed(0)
        theirs, ours = case.build(row.torchs), case.build(row.ours)
        inputs = case.draw()
        for k, x in enumerate(inputs):
            if x.dtype == DTYPES.get(kind):
                continue
            changed = list(inputs)
            changed[k] = NO_TENSOR[kind](x) if kind in NO_TENSOR else x.to(DTYPES[kind])
            found = complaint(kind, raised(theirs, changed, case), raised(ours, changed, case))
            complaints += [f"{row.name}{case}, input {k}: {found}"] if found else []
    if (row.name, kind) in DIFFERENT:
        assert complaints, "no difference any more: take it out of the table"
    else:
        assert not complaints, "\n".join(complaints)


X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGE = X.reshape(1, 3, 2, 2)
ROW = [1.0, 2.0, 3.0, 4.0]
F = functional
OTHER_TENSORS = {
    "linear: weight": lambda: F.linear(X, ROW),
    "linear: bias": lambda: F.linear(X, X, ROW[:3]),
    "bilinear: bias": lambda: F.bilinear(X, X, X[None, :, :4].new_ones(1, 4, 4), [1.0]),
    "conv2d: weight": lambda: F.conv2d(IMAGE, ROW),
    "conv2d: bias": lambda: F.conv2d(IMAGE, IMAGE, [1.0]),
    "conv_transpose2d: bias": lambda: F.conv_transpose2d(IMAGE, IMAGE.transpose(0, 1), bias=[1.0]),
    "layer_norm: weight": lambda: F.layer_norm(X, (4,), ROW),
    "group_norm: bias": lambda: F.group_norm(X, 2, bias=ROW),
    "rms_norm: weight": lambda: F.rms_norm(X, (4,), ROW),
    "batch_norm: running_mean": lambda: F.batch_norm(X, ROW, X[0].exp()),
    "instance_norm: weight": lambda: F.instance_norm(IMAGE, weight=ROW[:3]),
    "prelu: weight": lambda: F.prelu(X, 0.25),
    "embedding: weight": lambda: F.embedding(torch.tensor([0]), X.tolist()),
    "embedding_bag: per_sample_weights": lambda: F.embedding_bag(
        torch.tensor([[0]]), X, per_sample_weights=[[1.0]], mode="sum"
    ),
    "scaled_dot_product_attention: attn_mask": lambda: F.scaled_dot_product_attention(X, X, X, [[True]]),
    "cross_entropy: weight": lambda: F.cross_entropy(X, torch.tensor([0, 1, 2]), ROW),
    "nll_loss: weight": lambda: F.nll_loss(X, torch.tensor([0, 1, 2]), ROW),
    "multi_margin_loss: weight": lambda: F.multi_margin_loss(X, torch.tensor([0, 1, 2]), weight=ROW),
    "mse_loss: weight": lambda: F.mse_loss(X, X, weight=ROW),
    "binary_cross_entropy: weight": lambda: F.binary_cross_entropy(X.sigmoid(), X.sigmoid(), ROW),
    "binary_cross_entropy_with_logits: pos_weight": lambda: F.binary_cross_entropy_with_logits(
        X, X.sigmoid(), pos_weight=ROW
    ),
    "add: other": lambda: arithmetic.add(X, X.numpy()),
    "concatenate: tensors[1]": lambda: arithmetic.concatenate([X, ROW], 0),
    "RNN: hx[0]": lambda: nn.RNN(4, 2).double()(X, ROW),
    "lstm_cell: b_ih": lambda: rnn_cell.lstm_cell(X, (X, X), X.new_ones(16, 4), X.new_ones(16, 4), ROW, None),
    "multi_head_attention: attn_mask": lambda: nn.MultiheadAttention(4, 2).double()(X, X, X, attn_mask=ROW),
}


@pytest.mark.parametrize("name", OTHER_TENSORS)
def test_other_tensors_are_refused(name):
    layer, argument = name.split(": ")
    with pytest.raises(TypeError) as error:
        OTHER_TENSORS[name]()
    assert str(error.value).startswith(f"{layer}: expected {argument} to be a Tensor, but got ")
