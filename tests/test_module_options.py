"""Options that the cases of the catalog leave at their defaults: values and gradients of torch."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from manualgrad import functional, nn
from manualgrad.catalog import tensors_of

T = torch.tensor
LATER = torch.ones(3, 3, dtype=torch.bool).triu(1)
PADDED = T([[False, False, False], [False, False, True]])
FRONT = T([[False, False], [False, True]])
SEEN = T([[False, True], [False, False], [True, False]])  # of three targets and two memories


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).requires_grad_()


def compare(build, *shapes: tuple[int, ...], call=lambda module, *inputs: module(*inputs), training=True):
    """A module of both namespaces, called: outputs, buffers, the gradients of all inputs and parameters."""
    found = []
    for names in (nn, torch.nn):
        torch.manual_seed(0)
        module = build(names).double().train(training)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
        inputs = [draw(*shape) for shape in shapes]
        torch.manual_seed(1)
        outputs = tensors_of(call(module, *inputs))
        wanted = [*inputs, *(p for p in module.parameters() if p.requires_grad)]
        grads = torch.autograd.grad([o.sin().sum() for o in outputs], wanted, allow_unused=True)
        found.append((outputs, grads, dict(module.named_buffers())))
        names_of = list(module.state_dict())
    ours, theirs = found
    assert [g is None for g in ours[1]] == [g is None for g in theirs[1]], names_of
    assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    assert any(g is not None and g.any() for g in ours[1])


IMAGE = {1: (3, 2, 4), 2: (3, 2, 2, 3), 3: (3, 2, 2, 1, 3)}


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
class TestNorms:
    def test_batch_norm_without_bias(self, ndim, training):
        compare(lambda n: getattr(n, f"BatchNorm{ndim}d")(2, bias=False), IMAGE[ndim], training=training)

    @pytest.mark.parametrize(
        "options",
        [
            {"affine": True, "bias": False},
            {"affine": True, "bias": False, "track_running_stats": True},
            {"momentum": 0.4, "track_running_stats": True},
            {"momentum": None, "track_running_stats": True},
        ],
        ids=str,
    )
    def test_instance_norm(self, ndim, training, options):
        def twice(module, x):
            return module(x), module(x.exp())

        compare(
            lambda n: getattr(n, f"InstanceNorm{ndim}d")(2, **options),
            IMAGE[ndim],
            call=twice,
            training=training,
        )


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm_without_bias(groups):
    compare(lambda n: n.GroupNorm(groups, 4, bias=False), (2, 4, 3))


def transformer(names, **options):
    return names.Transformer(4, 2, 1, 1, 3, 0.0, "gelu", **options)


MASKS = {
    "src_mask": LATER,
    "tgt_mask": LATER,
    "memory_mask": LATER.T,
    "src_key_padding_mask": PADDED,
    "tgt_key_padding_mask": PADDED.flip(0),
    "memory_key_padding_mask": PADDED,
}
CAUSAL = {"src_is_causal": True, "tgt_is_causal": True, "memory_is_causal": True}


@pytest.mark.parametrize("batch_first", [True, False], ids=["batch_first", "batch second"])
@pytest.mark.parametrize("norm_first", [True, False], ids=["norm_first", "norm last"])
@pytest.mark.parametrize("masks", [*({name: mask} for name, mask in MASKS.items()), MASKS], ids=list)
def test_transformer(batch_first, norm_first, masks):
    shape = (2, 3, 4) if batch_first else (3, 2, 4)
    options = {"batch_first": batch_first, "norm_first": norm_first, "layer_norm_eps": 0.3}
    compare(lambda n: transformer(n, **options), shape, shape, call=lambda m, src, tgt: m(src, tgt, **masks))


@pytest.mark.parametrize("hint", [*CAUSAL, "all"])
def test_transformer_causal_hints(hint):
    hints = CAUSAL if hint == "all" else {hint: True}
    masks = dict.fromkeys(("src_mask", "tgt_mask", "memory_mask"), LATER)
    compare(
        lambda n: transformer(n, batch_first=True),
        (2, 3, 4),
        (2, 3, 4),
        call=lambda m, src, tgt: m(src, tgt, **masks, **hints),
    )


def test_transformer_of_custom_parts():
    def build(names):
        encoder = names.TransformerEncoder(names.TransformerEncoderLayer(4, 1, 2, 0.0, batch_first=True), 2)
        layer = names.TransformerDecoderLayer(4, 2, 3, 0.0, batch_first=True)
        decoder = names.TransformerDecoder(layer, 1, names.LayerNorm(4, eps=0.2))
        return transformer(names, batch_first=True, custom_encoder=encoder, custom_decoder=decoder)

    compare(build, (2, 3, 4), (2, 2, 4))


def encoder(names, norm: bool, **options):
    layer = names.TransformerEncoderLayer(4, 2, 3, 0.0, "gelu", batch_first=True)
    return names.TransformerEncoder(layer, 2, names.LayerNorm(4, 0.2) if norm else None, **options)


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("mask_check", [True, False], ids=["mask_check", "no mask_check"])
@pytest.mark.parametrize("norm", [True, False], ids=["norm", "no norm"])
@pytest.mark.parametrize("is_causal", [None, True, False], ids=str)
def test_encoder(norm, mask_check, is_causal, training):
    compare(
        lambda n: encoder(n, norm, mask_check=mask_check),
        (2, 3, 4),
        call=lambda m, x: m(x, LATER, PADDED, is_causal=is_causal),
        training=training,
    )


@pytest.mark.parametrize("mask", [LATER, torch.zeros(3, 3).masked_fill(LATER, -torch.inf).double()])
@pytest.mark.parametrize("is_causal", [True, False])
def test_encoder_layer_causal_hint(mask, is_causal):
    compare(
        lambda n: n.TransformerEncoderLayer(4, 2, 3, 0.0, batch_first=True),
        (2, 3, 4),
        call=lambda m, x: m(x, mask, is_causal=is_causal),
    )


@pytest.mark.parametrize("tgt_is_causal", [True, False])
@pytest.mark.parametrize("memory_is_causal", [True, False])
def test_decoder_layer_causal_hints(tgt_is_causal, memory_is_causal):
    compare(
        lambda n: n.TransformerDecoderLayer(4, 2, 3, 0.0, batch_first=True),
        (2, 3, 4),
        (2, 3, 4),
        call=lambda m, tgt, memory: m(
            tgt, memory, LATER, LATER, tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal
        ),
    )


DECODER_CALLS = {
    "nothing": {},
    "memory_mask": {"memory_mask": SEEN},
    "tgt padding": {"tgt_key_padding_mask": PADDED},
    "memory padding": {"memory_key_padding_mask": FRONT},
    "causal": {"tgt_mask": LATER, "tgt_is_causal": True},
    "not causal": {"tgt_mask": LATER, "tgt_is_causal": False},
    "detected": {"tgt_mask": LATER},
    "memory causal": {"memory_mask": torch.ones(3, 2, dtype=torch.bool).triu(1), "memory_is_causal": True},
    "all": {
        "tgt_mask": LATER,
        "memory_mask": SEEN[:, :1].expand(3, 2) & False,
        "tgt_key_padding_mask": PADDED,
        "memory_key_padding_mask": FRONT,
    },
}


@pytest.mark.parametrize("norm", [True, False], ids=["norm", "no norm"])
@pytest.mark.parametrize("options", DECODER_CALLS)
def test_decoder(norm, options):
    def build(names):
        layer = names.TransformerDecoderLayer(4, 2, 3, 0.0, "gelu", batch_first=True)
        return names.TransformerDecoder(layer, 2, names.LayerNorm(4, 0.2) if norm else None)

    compare(build, (2, 3, 4), (2, 2, 4), call=lambda m, *x: m(*x, **DECODER_CALLS[options]))


@pytest.mark.filterwarnings("ignore:NLLLoss2d has been deprecated")
@pytest.mark.parametrize(
    "options",
    [{"weight": T([0.5, 1.0, 2.0])}, {"ignore_index": 1}, {"weight": T([0.5, 1.0, 2.0]), "ignore_index": 2}],
    ids=["weight", "ignore_index", "both"],
)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_nll_loss_2d(options, reduction):
    target = torch.arange(8).reshape(2, 2, 2) % 3
    compare(
        lambda n: n.NLLLoss2d(**options, reduction=reduction),
        (2, 3, 2, 2),
        call=lambda m, x: m(x, target),
    )


@pytest.mark.parametrize("name", ["Embedding", "EmbeddingBag"])
def test_embedding_of_a_given_table(name):
    """``_weight``, ``_freeze`` and ``from_pretrained``, whose class is ours."""
    table, index = torch.randn(5, 3, dtype=torch.float64), T([[0, 4, 1], [2, 2, 0]])
    options = {"padding_idx": 2, "scale_grad_by_freq": name == "Embedding"}
    makers = [
        lambda names: getattr(names, name)(5, 3, _weight=table.clone()),
        lambda names: getattr(names, name).from_pretrained(table.clone(), freeze=False, **options),
    ]
    if name == "Embedding":
        makers.append(lambda names: names.Embedding(5, 3, _weight=table.clone(), _freeze=False))
    for make in makers:
        compare(make, call=lambda m: m(index))
        assert torch.equal(make(nn).weight, table)
        assert type(make(nn)) is getattr(nn, name)
    frozen = [getattr(nn, name).from_pretrained(table.clone())]
    if name == "Embedding":
        frozen.append(nn.Embedding(5, 3, _weight=table.clone(), _freeze=True))
    for layer in frozen:
        assert not layer.weight.requires_grad
        assert not layer(index).requires_grad
        assert_close(layer(index), getattr(torch.nn, name).from_pretrained(table)(index))


@pytest.mark.filterwarnings("ignore:.*dropout[23]d")  # ours and torch's: of a number of axes
@pytest.mark.parametrize("inplace", [False, True], ids=["", "inplace"])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "shape", [(), (12,), (3, 4), (2, 3, 2), (2, 3, 2, 1), (1, 3, 2, 2, 1), (1, 1, 3, 2, 2, 1)]
)
@pytest.mark.parametrize("name", ["dropout2d", "dropout3d"])
def test_dropout_of_any_axes(name, shape, p, inplace):
    """torch takes what is not 5-D as one sample in dropout3d, and draws nothing if all is dropped."""
    found = []
    for names in (functional, torch.nn.functional):
        torch.manual_seed(0)
        x = draw(*shape)
        try:
            y = getattr(names, name)(x * 1, p, inplace=inplace)
        except RuntimeError as error:
            found.append(type(error))
        else:
            found.append((y, *torch.autograd.grad(y.sin().sum(), x), torch.rand(1)))
    if RuntimeError in found:
        assert found == [RuntimeError, RuntimeError]
    else:
        assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*eps")  # deprecated: it has no effect
def test_gumbel_softmax_eps():
    found = []
    for names in (functional, torch.nn.functional):
        torch.manual_seed(0)
        x = draw(3, 4)
        y = names.gumbel_softmax(x, eps=0.5)
        found.append((y, *torch.autograd.grad(y.sin().sum(), x)))
    assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["2-D by 3-D", "3-D by 3-D", "bfloat16"])
def test_grouped_mm_out_dtype(kind):
    """The dtype that torch allows is the input's."""
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    found = []
    for names in (functional, torch.nn.functional):
        torch.manual_seed(0)
        a = torch.randn((2, 4, 8) if kind == "3-D by 3-D" else (4, 8)).to(dtype).requires_grad_()
        b = torch.randn(2, 8, 8).to(dtype).requires_grad_()
        offs = None if a.dim() == 3 else T([1, 4], dtype=torch.int32)
        y = names.grouped_mm(a, b, offs=offs, bias=None, out_dtype=dtype)
        found.append((y, *torch.autograd.grad(y.float().sin().sum(), (a, b))))
    assert_close(found[0], found[1])
