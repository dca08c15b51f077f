"""What a transformer owes beyond its derivatives: whose parts it is made of, and what inference returns."""

import pytest
import torch
from test_graph import left_to_autograd
from torch.testing import assert_close

import manualgrad
from manualgrad import nn
from manualgrad.swap import TORCHS

PADDED = torch.tensor([[False, False, False], [False, True, True]])


def source() -> torch.Tensor:
    return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))


def encoder(names, norm: bool = True, **options):
    """One layer with a norm behind it, the same weights for both namespaces."""
    torch.manual_seed(0)
    layer = names.TransformerEncoderLayer(4, 2, 5, 0.1, batch_first=True)
    model = names.TransformerEncoder(layer, 2, names.LayerNorm(4, bias=True) if norm else None, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return model.eval()


@pytest.mark.parametrize(
    ("options", "zeros"),
    [({}, True), ({"mask_check": False}, True), ({"enable_nested_tensor": False}, False)],
)
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_padding_in_inference(options, zeros, norm):
    """Where torch packs samples, it returns zeros for padding (before the last norm), and so do we."""
    ours, theirs = encoder(nn, norm, **options), encoder(torch.nn, norm, **options)
    with torch.no_grad():
        got, expected = (m(source(), src_key_padding_mask=PADDED) for m in (ours, theirs))
    assert_close(got, expected)
    if not norm:
        assert torch.equal((got == 0).all(-1), PADDED & zeros)
    got, expected = (m(source(), src_key_padding_mask=PADDED) for m in (ours, theirs))
    assert_close(got, expected)
    assert not (got == 0).any()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_padding_in_front_is_not_packed():
    with torch.no_grad():
        got, expected = (encoder(n)(source(), src_key_padding_mask=PADDED.flip(1)) for n in (nn, torch.nn))
    assert_close(got, expected)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("part", ["encoder", "layer", "attention"])
def test_nested_tensors_in_inference(part):
    """Nested tensors are for inference alone, in torch too: torch's forward takes them."""
    found = []
    for names in (nn, torch.nn):
        model = encoder(names, norm=False)
        model = {"encoder": model, "layer": model.layers[0], "attention": model.layers[0].self_attn}[part]
        nested = torch.nested.nested_tensor([source()[0], source()[1, :1]])
        with torch.no_grad():
            output = model(*(nested,) * 3, need_weights=False)[0] if part == "attention" else model(nested)
        found.append(output.to_padded_tensor(0.0))
    assert_close(found[0], found[1])


def test_attention_to_nothing_in_inference():
    """A sample that is padding throughout gives zeros, as in training; torch's fast path gives NaN."""
    attention = nn.MultiheadAttention(4, 2, batch_first=True, bias=False).eval()
    with torch.no_grad():
        x = source()
        output, _ = attention(x, x, x, key_padding_mask=PADDED | PADDED[:, -1:], need_weights=False)
    assert_close(output[1], torch.zeros(3, 4))


@pytest.mark.parametrize("activation", ["relu", "gelu", torch.nn.functional.silu])
def test_constructed_by_hand_throughout(activation):
    found = []
    for names in (nn, torch.nn):
        torch.manual_seed(0)
        found.append(names.Transformer(4, 2, 1, 2, 5, activation=activation, batch_first=True))
    ours, theirs = found
    assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert repr(ours) == repr(theirs)
    assert {type(m) for m in ours.modules()} - set(TORCHS) == {torch.nn.ModuleList}
    assert not manualgrad.swap(ours).changed
    manualgrad.unswap(ours)
    assert not {type(m) for m in ours.modules()} & set(TORCHS)


@pytest.mark.parametrize("activation", ["relu", "gelu", torch.relu])
def test_swapped_leaves_nothing_to_autograd(activation):
    model = torch.nn.Transformer(4, 2, 1, 1, 5, activation=activation, batch_first=True)
    report = manualgrad.swap(model)
    assert not report.left
    assert left_to_autograd([model(source(), source())]) == set()


@pytest.mark.parametrize("options", [{}, {"norm_first": True, "batch_first": True, "bias": False}])
def test_dropout_draws_as_torch_does(options):
    """In training, the same seed drops the same elements in all places, and the gradients are the same."""
    found = []
    for names in (nn, torch.nn):
        torch.manual_seed(0)
        model = names.Transformer(4, 2, 2, 1, 5, 0.3, **options).double()
        x = source().double().requires_grad_()
        output = model(x, x.flip(0))
        found.append((output, torch.autograd.grad(output.sin().sum(), [x, *model.parameters()])))
    assert_close(found[0], found[1], rtol=1e-9, atol=1e-10)


def test_parts_that_are_given_stay_as_they_are():
    layer, norm = torch.nn.TransformerEncoderLayer(4, 2, 5, batch_first=True), torch.nn.LayerNorm(4)
    custom = torch.nn.TransformerEncoder(layer, 1, norm)
    model = nn.Transformer(4, 2, 1, 1, 5, batch_first=True, custom_encoder=custom)
    assert model.encoder is custom
    assert not {type(m) for m in custom.modules()} & set(TORCHS)
    assert type(model.decoder) is nn.TransformerDecoder
    ours = nn.TransformerEncoder(layer, 1, norm)
    assert ours.norm is norm
    assert type(norm) is torch.nn.LayerNorm
    assert type(layer.linear1) is torch.nn.Linear
    assert type(ours.layers[0].linear1) is nn.Linear


def test_output_projection_can_be_called():
    attention = nn.MultiheadAttention(4, 2)
    output = attention.out_proj(source())
    assert left_to_autograd([output]) == set()
    assert_close(output, torch.nn.functional.linear(source(), *attention.out_proj.parameters()))


def test_masks_of_two_dtypes_warn():
    attention, x = nn.MultiheadAttention(4, 2, batch_first=True), source()
    with pytest.warns(UserWarning, match=r"key_padding_mask is torch.bool, but attn_mask is torch.float32"):
        attention(x, x, x, key_padding_mask=PADDED, attn_mask=torch.zeros(3, 3))
    with pytest.warns(
        UserWarning, match=r"src_key_padding_mask is torch.bool, but src_mask is torch.float32"
    ):
        encoder(nn).layers[0](x, torch.zeros(3, 3), PADDED)


@pytest.mark.parametrize(
    ("src", "tgt", "message"),
    [((2, 3, 4), (1, 3, 4), "as many samples"), ((2, 3, 5), (2, 3, 5), "d_model=4 features")],
)
def test_errors_of_transformer(src, tgt, message):
    for names in (nn, torch.nn):
        model = names.Transformer(4, 2, 1, 1, 5, batch_first=True)
        with pytest.raises(RuntimeError, match=message if names is nn else None):
            model(torch.zeros(src), torch.zeros(tgt))


def test_causal_masks_are_recognized():
    """Without a hint, a mask is compared with the causal one; with a wrong one, the hint is believed."""
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    for hint in (None, True, False):
        for attn_mask in (mask, torch.zeros(3, 3)):
            found = [encoder(n)(source(), attn_mask, is_causal=hint) for n in (nn, torch.nn)]
            assert_close(found[0], found[1])
