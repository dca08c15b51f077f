"""Tables for attention."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
HEADS = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
YES = torch.ones(3, 3, dtype=torch.bool)


def attend(F, x, entry=0, **changes):
    """Multi-head attention of 3 queries to 3 keys, 4 features in 2 heads, one sample."""
    arguments = {
        **dict.fromkeys(("query", "key", "value"), x[:, None]),
        "embed_dim_to_check": 4,
        "num_heads": 2,
        "in_proj_weight": x.repeat(4, 1),
        **dict.fromkeys(("in_proj_bias", "bias_k", "bias_v")),
        "add_zero_attn": False,
        "dropout_p": 0.0,
        "out_proj_weight": x.repeat(2, 1)[:4],
        "out_proj_bias": None,
    }
    return F.multi_head_attention_forward(**(arguments | changes))[entry]


def apart(F, x, **changes):
    """The same with three projections."""
    weights = {f"{name}_proj_weight": x.repeat(2, 1)[:4] for name in "qkv"}
    return attend(F, x, **({"in_proj_weight": None, "use_separate_proj_weight": True} | weights | changes))


SAME = {
    "attention": lambda F, x: F.scaled_dot_product_attention(x, x, x),
    "attention scale 0": lambda F, x: F.scaled_dot_product_attention(x, x, x, scale=0.0),
    "attention to nothing": lambda F, x: F.scaled_dot_product_attention(x, x[:0], x[:0]),
    "attention without features": lambda F, x: F.scaled_dot_product_attention(x[:, :0], x[:, :0], x),
    "attention negative dropout": lambda F, x: F.scaled_dot_product_attention(x, x, x, dropout_p=-0.5),
    "attention mask dtypes": lambda F, x: F.scaled_dot_product_attention(x, x, x, x.float()[:, :3]),
    "attention one mask for all": lambda F, x: F.scaled_dot_product_attention(x, x, x, x[0, 0]),
    "attention causal, L != S": lambda F, x: F.scaled_dot_product_attention(x[:2], x, x, is_causal=True),
    "attention grouped, key and value differ": lambda F, x: F.scaled_dot_product_attention(
        x.reshape(4, 3, 1), x.reshape(4, 3, 1)[:2], x.reshape(4, 3, 1)[:1], enable_gqa=True
    ),
    "attention grouped, one mask": lambda F, x: F.scaled_dot_product_attention(
        x.reshape(4, 3, 1), x.reshape(4, 3, 1)[:2], x.reshape(4, 3, 1)[:2], YES[None].tril(), enable_gqa=True
    ),
    "attention grouped, dropout": lambda F, x: F.scaled_dot_product_attention(
        x.reshape(4, 3, 1), x.reshape(4, 3, 1)[:2], x.reshape(4, 3, 1)[:2], dropout_p=0.5, enable_gqa=True
    ),
    "multi_head packed": attend,
    "multi_head weights": lambda F, x: attend(F, x, 1),
    "multi_head apart": apart,
    "multi_head apart with bias": lambda F, x: apart(F, x, in_proj_bias=x.reshape(12)),
    "multi_head packed with bias": lambda F, x: attend(
        F, x, query=x[:2, None], in_proj_bias=x.reshape(12), out_proj_bias=x[0]
    ),
    "multi_head static": lambda F, x: attend(
        F, x, static_k=x.reshape(2, 3, 2), static_v=x.reshape(2, 3, 2).flip(0), add_zero_attn=True
    ),
    "multi_head static key": lambda F, x: attend(F, x, static_k=x.reshape(2, 3, 2), need_weights=False),
    "multi_head bias and masks": lambda F, x: attend(
        F,
        x,
        bias_k=x[:1, None],
        bias_v=x[1:2, None],
        attn_mask=~YES.tril(),
        key_padding_mask=YES[:1] ^ YES[:1],
        need_weights=False,
    ),
    "multi_head causal with weights": lambda F, x: attend(F, x, attn_mask=~YES.tril(), is_causal=True),
    "multi_head no dropout in inference": lambda F, x: attend(F, x, dropout_p=0.5, training=False),
}

AUTOCAST = {
    "attention": lambda F, x: F.scaled_dot_product_attention(x, x, x),
    "attention mask": lambda F, x: F.scaled_dot_product_attention(x, x, x, x.double()[:, :3].to(x)),
    "multi_head": attend,
    "multi_head weights": lambda F, x: attend(F, x, 1),
    "multi_head alone": lambda F, x: attend(F, x, need_weights=False, attn_mask=x[:, :3]),
}


def sdpa(*tensors, **options):
    """A call of scaled_dot_product_attention, to be made in a namespace."""
    return lambda F: F.scaled_dot_product_attention(*tensors, **options)


def mha(**changes):
    """A call of multi_head_attention_forward, to be made in a namespace."""
    return lambda F: attend(F, X, **changes)


Q = X[:, None]
ERRORS = {
    "attention: axes": (sdpa(X[0], X[0], X[0]), r"at least 2 axes.*\[4\]"),
    "attention: dtypes": (sdpa(X, X.float(), X), "one dtype.*float32"),
    "attention: integers": (sdpa(X.long(), X.long(), X.long()), "torch.int64"),
    "attention: features": (sdpa(X, X[:, :3], X), r"agree.*\[3, 3\]"),
    "attention: keys": (sdpa(X, X, X[:2]), r"agree.*\[2, 4\]"),
    "attention: batch": (sdpa(HEADS, HEADS[:2], HEADS[:2]), "enable_gqa"),
    "attention: mask and causal": (sdpa(X, X, X, YES, is_causal=True), "exclude each other"),
    "attention: mask's shape": (sdpa(X, X, X, YES[:2]), r"attn_mask.*\[3, 3\].*\[2, 3\]"),
    "attention: mask's axes": (sdpa(X, X, X, YES[None].repeat(2, 1, 1)), "attn_mask must broadcast"),
    "attention: mask's dtype": (sdpa(X, X, X, YES.long()), "attn_mask must be.*int64"),
    "attention: mask's precision": (sdpa(X.float(), X.float(), X.float(), YES.double()), "float64"),
    "attention: dropout": (sdpa(X, X, X, dropout_p=1.5), "between 0 and 1.*1.5"),
    "attention: heads": (sdpa(HEADS, HEADS[:3], HEADS[:3], enable_gqa=True), "divide.*4, 3 and 3"),
    "attention: no heads": (sdpa(X, X, X, enable_gqa=True), "axis of heads"),
    "attention: mask's heads": (
        sdpa(HEADS, HEADS[:2], HEADS[:2], YES[None].repeat(2, 1, 1), enable_gqa=True),
        "4 heads",
    ),
    "multi_head: query": (mha(query=IMAGES), "query must have shape"),
    "multi_head: key": (mha(key=X), r"key and value must have 3 axes.*\[3, 4\]"),
    "multi_head: unbatched key": (mha(query=X), "key and value must have 2 axes"),
    "multi_head: padding's axes": (mha(key_padding_mask=YES[0]), "key_padding_mask must have shape"),
    "multi_head: padding's shape": (mha(key_padding_mask=YES[:2]), r"key_padding_mask.*\[1, 3\].*\[2, 3\]"),
    "multi_head: padding's dtype": (mha(key_padding_mask=YES[:1].long()), "int64"),
    "multi_head: mask's axes": (mha(attn_mask=YES[0]), "attn_mask must have shape"),
    "multi_head: mask's shape": (mha(attn_mask=YES[:2]), r"\[3, 3\], but has \[2, 3\]"),
    "multi_head: mask of heads": (mha(attn_mask=YES[None]), r"\[2, 3, 3\], but has \[1, 3, 3\]"),
    "multi_head: unbatched mask of heads": (
        mha(query=X, key=X, value=X, attn_mask=YES[None]),
        r"\(H, L, S\) = \[2, 3, 3\]",
    ),
    "multi_head: mask's dtype": (mha(attn_mask=YES.long()), "int64"),
    "multi_head: causal": (mha(is_causal=True), "attn_mask is None"),
    "multi_head: embed_dim": (mha(embed_dim_to_check=5), "embed_dim=5"),
    "multi_head: heads": (mha(num_heads=3), "num_heads=3"),
    "multi_head: key and value": (mha(value=Q[:2]), "does not match value"),
    "multi_head: no weight": (mha(in_proj_weight=None), "in_proj_weight"),
    "multi_head: no separate weight": (lambda F: apart(F, X, k_proj_weight=None), "k_proj_weight"),
    "multi_head: separate weight": (lambda F: apart(F, X, v_proj_weight=X), "v_proj_weight must have shape"),
    "multi_head: separate bias": (lambda F: apart(F, X, in_proj_bias=X[0, :3]), "in_proj_bias"),
    "multi_head: bias_k alone": (mha(bias_k=Q[:1]), "together"),
    "multi_head: bias_v alone": (mha(bias_v=Q[:1]), "together"),
    "multi_head: bias and static": (
        mha(bias_k=Q[:1], bias_v=Q[:1], static_k=X.reshape(2, 3, 2)),
        "no static_k",
    ),
    "multi_head: static": (mha(static_k=HEADS), r"static_k must have shape.*\(2, S, 2\)"),
    "multi_head: static width": (mha(static_v=HEADS[:2, :, :1]), "static_v must have shape"),
}  # fmt: skip
