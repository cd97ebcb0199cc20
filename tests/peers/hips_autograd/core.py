"""`autograd.core` by tapegrad: products with Jacobians, and the vector spaces of HIPS's tests."""

from __future__ import annotations

import warnings

import numpy as np

import tapegrad as tg
import tapegrad.numpy as tnp
from tapegrad.tape import pytree as trees

from .tracer import primitive


def _real(tree):
    """Whole numbers as floats, which HIPS differentiates."""
    if isinstance(tree, bool | np.bool_):
        return tree
    if isinstance(tree, int | np.integer):
        return float(tree)
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "iu":
        return tree.astype(float)
    if tg.is_tensor(tree) and not (tree.dtype.is_inexact or tree.dtype is tg.bool):
        return tree.double()
    if type(tree) in (list, tuple):
        return type(tree)([_real(x) for x in tree])
    if type(tree) is dict:
        return {k: _real(v) for k, v in tree.items()}
    return tree


def _is_active_result(y):
    leaves = trees.leaves(y)
    return all(
        (tg.is_tensor(x) and x.dtype.is_inexact) or isinstance(x, float | complex | np.inexact)
        for x in leaves
    )


def make_vjp(fun, x):
    """The product with cotangents, and the result; zeros with a warning where that is independent."""
    x = _real(x)
    if not trees.leaves(x):
        return (lambda g: x), fun(x)
    seen = []

    def run(x):
        y = _real(fun(x))
        seen[:] = [y]
        if not _is_active_result(y):
            return 0.0
        return y

    y, pull = tg.vjp(run, x)
    if not _is_active_result(seen[0]):
        warnings.warn("Output seems independent of input.", stacklevel=2)
        return (lambda g: vspace(x).zeros()), seen[0]
    # HIPS's gradients of complex numbers are the conjugates of PyTorch's.
    return (lambda g: _conjugate(pull(_conjugate(_real(g)))[0])), y


def _conjugate(tree):
    return trees.tree_map(lambda x: tnp.conj(x) if np.iscomplexobj(x) else x, tree)


def make_jvp(fun, x):
    """The product with tangents."""
    x = _real(x)

    def jvp(v):
        return tg.jvp(lambda x: _real(fun(x)), (x,), (_real(v),))

    return jvp


class VSpace:
    """The space of values of a structure: nested containers of arrays and numbers."""

    def __init__(self, value):
        leaves, self.spec = trees.flatten(value, none_is_leaf=False)
        self.kinds = []
        for x in leaves:
            a = x.detach().numpy() if tg.is_tensor(x) else np.asarray(x)
            if a.dtype.kind not in "biufc":
                raise TypeError(f"Can't find vector space for value {value} of type {type(value)}.")
            kind = a.dtype if a.dtype.kind in "fc" else np.dtype(float)
            self.kinds.append((a.shape, kind))

    @property
    def shape(self):
        return self.kinds[0][0] if len(self.kinds) == 1 else self.kinds

    @property
    def size(self):
        return sum(int(np.prod(s)) * (1 + (k.kind == "c")) for s, k in self.kinds)

    @property
    def iscomplex(self):
        return any(k.kind == "c" for _, k in self.kinds)

    def _make(self, make):
        return trees.unflatten(self.spec, [make(s, k) for s, k in self.kinds])

    def zeros(self):
        return self._make(lambda s, k: np.zeros(s, k))

    def ones(self):
        return self._make(lambda s, k: np.ones(s, k))

    def randn(self):
        def draw(shape, kind):
            a = np.asarray(np.random.randn(*shape))
            if kind.kind == "c":
                a = a + 1j * np.random.randn(*shape)
            return np.asarray(a, kind)

        return self._make(draw)

    def standard_basis(self):
        for i, (shape, kind) in enumerate(self.kinds):
            for place in np.ndindex(*shape):
                for unit in (1.0, 1j) if kind.kind == "c" else (1.0,):
                    leaves = [np.zeros(s, k) for s, k in self.kinds]
                    leaves[i][place] = unit
                    yield trees.unflatten(self.spec, leaves)

    def _map(self, f, *values):
        leaves = [trees.flatten(v, none_is_leaf=False)[0] for v in values]
        return trees.unflatten(self.spec, [f(*parts) for parts in zip(*leaves, strict=True)])

    def add(self, x, y):
        return self._map(lambda a, b: a + b, x, y)

    def scalar_mul(self, x, a):
        return self._map(lambda v: v * a, x)

    def covector(self, x):
        return _conjugate(x)

    def inner_prod(self, x, y):
        total = 0.0
        for a, b in zip(*[trees.flatten(v, none_is_leaf=False)[0] for v in (x, y)], strict=True):
            total = total + tnp.sum(tnp.real(tnp.conj(a) * b))
        return total

    def __eq__(self, other):
        return isinstance(other, VSpace) and self.kinds == other.kinds and self.spec == other.spec

    def __repr__(self):
        return f"VSpace({self.kinds})"


def vspace(value):
    return VSpace(value)


primitive_vjps = {}


def primitive_with_deprecation_warnings(function):
    """The name that the package's face has for it."""
    return primitive(function)


def defvjp(function, *makers, argnums=None):
    """Give a primitive its products: `makers` are functions of the result and the arguments."""
    for i, maker in zip(argnums or range(len(makers)), makers, strict=False):
        function.vjps[i] = maker


def defvjp_argnum(function, maker):
    function.vjp_argnum = maker


def defvjp_argnums(function, maker):
    function.vjp_argnums = maker


def defjvp(function, *makers, argnums=None):
    """Forward mode is derived from the products."""


defjvp_argnum = defjvp_argnums = def_linear = defjvp
JVPNode = VJPNode = SparseObject = None
