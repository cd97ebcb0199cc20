"""Kinds of statements: reductions, scans, indexing and other functions with options, as texts.

In a text ``{x}`` is a tensor with bounded values, ``{d}`` a dimension of it, ``{k}`` perhaps
``keepdim=True``, ``{y}`` another tensor of its shape or a number, ``{n}`` its length along ``{d}``, and
``{i}`` a valid index along ``{d}``.
"""

from __future__ import annotations

import numpy as np

from .program import Program, kind

__all__ = ["ANY", "DIMENSIONAL", "MATRIX"]

#: of tensors of any rank
ANY = """
{x}.sum() | {x}.mean() | {x}.prod() | {x}.max() | {x}.min() | {x}.norm()
{x}.var(correction=0) | ({x}.var(correction=0) + 0.1).sqrt()
{x}.abs().pow(1.5) | {x}.pow(2) | {x}.pow(3.0) | 1.5 ** {x} | {x}.clamp(-0.8, 0.9)
{x}.clamp(min={y}) | {x}.nansum() | lib.where({x} > 0, {x}, {y})
lib.where({x} > 0.1, {x} * {x}, 0.5) | {x}.masked_fill({x} > 0.5, 0.25)
lib.maximum({x}, {x} * 0.5 + 0.1) | lib.minimum({x}, {x} * {x}) | {x}.lerp({x} * {x}, 0.3)
{x}.addcmul({x}, {x}, value=0.5) | F.softplus({x}) | F.leaky_relu({x}, 0.1) | F.gelu({x})
F.elu({x}) | lib.add({x}, {x}, alpha=0.5) | {x}.reciprocal().tanh() | {x}.square()
lib.hypot({x}, {x} + 1) | {x}.frac() | {x}.nan_to_num() | {x}.clone() | {x}.contiguous().clone()
{x}.ravel().clone() | lib.atleast_2d({x}) | lib.zeros_like({x}) + {x} | lib.full_like({x}, 0.5) * {x}
"""

#: of tensors with dimensions
DIMENSIONAL = """
{x}.sum({d}{k}) | {x}.mean({d}{k}) | {x}.prod({d}{k}) | {x}.logsumexp({d}{k}) | {x}.softmax({d})
{x}.log_softmax({d}) | {x}.cumsum({d}) | {x}.cumprod({d}) | {x}.amax({d}{k}) | {x}.amin({d}{k})
{x}.var({d}, correction=0{k}) | {x}.max({d}{k})[0]
{x}.min({d}{k})[0] | {x}.median({d}{k})[0] | {x}.sort({d})[0] | {x}.sort({d}, descending=True)[0]
{x}.topk(1, {d})[0] | {x}.kthvalue(1, {d}{k})[0] | {x}.logcumsumexp({d}) | {x}.cummax({d})[0]
{x}.cummin({d})[0] | {x}.norm(2, {d}{k}) | {x}.sum(dim=({d},){k}) | {x}.flip({d})
{x}.roll(1, {d}) | {x}.diff(dim={d}) | {x}.gather({d}, lib.zeros_like({x}, dtype=lib.int64))
{x}.index_select({d}, lib.tensor([0, {i}, {i}])) | {x}.take_along_dim({x}.argsort({d}), {d})
{x}.repeat_interleave(2, {d}) | {x}[lib.tensor([0, -1, 0])] | {x}[[0]] | {x}[{x} > 0].sum()
{x}[..., lib.tensor([0, 0])] | {x}[{x} > 0.2] | F.pad({x}, (1, 0), value=0.5)
{x}.index_add({d}, lib.tensor([{i}]), {x}.select({d}, 0).unsqueeze({d}))
{x}.scatter({d}, lib.zeros_like({x}, dtype=lib.int64), {x} * 2)
{x}.scatter_add({d}, lib.zeros_like({x}, dtype=lib.int64), {x})
{x}.index_fill({d}, lib.tensor([{i}]), 0.5)
{x}.index_copy({d}, lib.tensor([{i}]), {x}.select({d}, 0).unsqueeze({d}) * 2)
{x}.repeat(2, *[1] * ({x}.ndim - 1)) | {x}.tile(2) | {x}.unsqueeze({d}).squeeze({d})
{x}.movedim({d}, 0) | {x}.cov() if {x}.ndim < 3 and {x}.shape[-1] > 1 else {x}
lib.stack([{x}, {x} * 2], {d}) | lib.cat([{x}, {x}], {d}) | lib.einsum("i...,i...->...", {x}, {x})
lib.tensordot({x}, {x}, dims=1) if {x}.ndim == 1 else {x} | F.normalize({x}, dim={d})
lib.cdist({x}, {x} + 1) if {x}.ndim == 2 else {x} | F.cosine_similarity({x}, {x} + 1, dim={d})
"""

#: of matrices
MATRIX = """
{x}.tril() | {x}.triu(1) | {x}.diagonal().sum() | {x}.T @ {x} | {x}.mm({x}.T)
{x}.matmul({x}.T).trace() | lib.addmm({x} @ {x}.T, {x}, {x}.T) | {x}.t()
lib.outer({x}[0], {x}[0]) | lib.einsum("ij,kj->ik", {x}, {x}) | lib.kron({x}, {x}).sum(0)
{x}.rot90() | F.linear({x}, {x})
"""


def _texts(lines: str) -> list[str]:
    return [text.strip() for line in lines.strip().splitlines() for text in line.split(" | ")]


_ANY, _DIMENSIONAL, _MATRIX = (_texts(lines) for lines in (ANY, DIMENSIONAL, MATRIX))


@kind(6)
def function(p: Program) -> None:
    """A function with options."""
    name = p.pick(lambda s: 0 < np.prod(s, dtype=int) <= 48)
    if name is None:
        return
    shape = p.shape(name)
    texts = list(_ANY)
    if shape:
        texts += _DIMENSIONAL
    if len(shape) == 2:
        texts += _MATRIX * 2
    d = p.rng.randrange(-len(shape), len(shape)) if shape else 0
    other = p.pick(lambda s: s == shape) if p.rng.random() < 0.6 else None
    text = p.rng.choice(texts).format(
        x=p.bounded(name), y=p.bounded(other) if other else "0.4", d=d,
        k=p.rng.choice([", keepdim=True", ""]), i=p.rng.randrange(shape[d]) if shape else 0,
    )  # fmt: skip
    p.emit(text)
