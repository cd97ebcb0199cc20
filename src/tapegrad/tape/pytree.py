"""Nested arguments: containers of tensors taken apart and put together again (optree).

Dicts, lists, tuples, namedtuples, deques, dataclasses and classes registered with optree under
`NAMESPACE` are nodes; everything else is a leaf, None too. A dataclass is registered when it is first
seen: its fields are the node's children, except those declared with
``field(metadata={"static": True})``, which belong to the structure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from ..base.importing import imported
from ..base.locks import new_lock
from .recording import is_tensor

if TYPE_CHECKING:
    import optree

__all__ = [
    "NAMESPACE", "PartialSpec", "Spec", "broadcast", "complete", "flatten", "leaves", "matching_leaves",
    "parts", "paths", "text", "tree_map", "unflatten",
]  # fmt: skip

NAMESPACE = "tapegrad"
#: the structure of a tree; two are equal if trees of theirs can be added leaf by leaf
Spec: TypeAlias = "optree.PyTreeSpec | PartialSpec"


@dataclasses.dataclass(frozen=True)
class PartialSpec:
    """The structure of a tree of which some leaves stay as they are: `unflatten` puts None in their places.

    Parameters
    ----------
    whole : Spec
        The structure of the tree.
    places : tuple of int
        Which leaves are those that `unflatten` takes.
    rest : tuple
        All leaves; those in `places` do not matter.
    """

    whole: Any
    places: tuple[int, ...]
    rest: tuple[Any, ...]

    @property
    def num_leaves(self) -> int:
        """Number of leaves that `unflatten` takes."""
        return len(self.places)

    def tree(self, values: Iterable[Any], others: Sequence[Any]) -> Any:
        """Return the tree with values in the places, and some of `others` everywhere else."""
        everything = list(others)
        for place, value in zip(self.places, values, strict=True):
            everything[place] = value
        return unflatten(self.whole, everything)


_package: Any = None


def _optree() -> Any:
    """Import the package when the first tree is met; it takes a tenth of the time that ours does."""
    global _package
    if _package is None:
        _package = imported("optree")
    return _package


_registering = new_lock()
_registered: set[type] = set()


def flatten(tree: Any, *, none_is_leaf: bool = True) -> tuple[list[Any], Spec]:
    """Take a tree apart.

    Parameters
    ----------
    tree : object
    none_is_leaf : bool
        Whether None is a leaf, as in PyTorch, or a node without any, as in JAX.

    Returns
    -------
    leaves : list
    spec : Spec
        The structure, from which `unflatten` makes such a tree of other leaves.
    """
    if is_tensor(tree):
        return [tree], _one_leaf(none_is_leaf)
    while True:
        values, spec = _optree().tree_flatten(tree, none_is_leaf=none_is_leaf, namespace=NAMESPACE)
        new = {type(x) for x in values if dataclasses.is_dataclass(x) and not isinstance(x, type)}
        if not new:
            return values, spec
        for kind in new:
            _register(kind)


@cache
def _one_leaf(none_is_leaf: bool) -> Spec:
    """Return the structure of a leaf alone."""
    spec: Spec = _optree().tree_structure(0, none_is_leaf=none_is_leaf, namespace=NAMESPACE)
    return spec


def unflatten(spec: Spec, values: Iterable[Any]) -> Any:
    """Put a tree of structure `spec` together from its leaves."""
    if spec is _one_leaf(True):
        (value,) = values
        return value
    if isinstance(spec, PartialSpec):
        return spec.tree(values, [None] * len(spec.rest))
    return _optree().tree_unflatten(spec, values)


def complete(spec: Spec, values: Iterable[Any]) -> Any:
    """Put a tree together, with the leaves that stay as they are in the places of a partial structure."""
    if isinstance(spec, PartialSpec):
        return spec.tree(values, spec.rest)
    return unflatten(spec, values)


def matching_leaves(tree: Any, spec: Spec) -> list[Any] | None:
    """Return the leaves of a tree in the places of a structure; None if the tree's is another one."""
    values, structure = flatten(tree)
    if isinstance(spec, PartialSpec):
        return [values[i] for i in spec.places] if structure == spec.whole else None
    return values if structure == spec else None


def paths(tree: Any, name: str) -> list[str]:
    """Return the text by which each leaf of the tree `name` is written: ``name['a'][0]``."""
    flatten(tree)  # which registers the dataclasses that it meets
    accessors = _optree().tree_accessors(tree, none_is_leaf=True, namespace=NAMESPACE)
    return [accessor.codify(name) for accessor in accessors]


def leaves(tree: Any) -> list[Any]:
    """Return the leaves of a tree."""
    return flatten(tree)[0]


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to every leaf."""
    values, spec = flatten(tree)
    return unflatten(spec, [function(x) for x in values])


def broadcast(prefix: Any, tree: Any) -> list[Any] | None:
    """Return a leaf of `prefix` for each leaf of `tree`, or None if `prefix` is not a prefix of it."""
    count = len(flatten(tree)[0])  # which registers the dataclasses that it meets
    if prefix is None or isinstance(prefix, int):
        return [prefix] * count
    try:
        values: list[Any] = _optree().broadcast_prefix(
            prefix, tree, none_is_leaf=True, namespace=NAMESPACE
        )
        return values
    except ValueError:
        return None


def parts(spec: Spec, tree: Any) -> list[Any] | None:
    """Return the part of a tree in the place of each leaf of a structure; None if it is not a prefix."""
    try:
        values: list[Any] = spec.flatten_up_to(tree)  # type: ignore[union-attr]
        return values
    except (ValueError, TypeError):
        return None


def text(spec: Spec) -> str:
    """Return a structure as text, with ``*`` for leaves."""
    return repr(unflatten(spec, [_Star()] * spec.num_leaves))


class _Star:
    def __repr__(self) -> str:
        return "*"


def _register(kind: type) -> None:
    with _registering:
        if kind in _registered:
            return
        fields = dataclasses.fields(kind)
        static = tuple(f.name for f in fields if f.metadata.get("static"))
        children = tuple(f.name for f in fields if f.name not in static)

        def apart(value: Any) -> tuple[list[Any], tuple[Any, ...], tuple[str, ...]]:
            constants = tuple([getattr(value, name) for name in static])
            return [getattr(value, name) for name in children], constants, children

        def together(constants: Any, values: Iterable[Any]) -> Any:
            # leaves may be anything, so __init__ would not take them
            instance: Any = object.__new__(kind)
            for name, value in zip(static + children, (*constants, *values), strict=True):
                object.__setattr__(instance, name, value)
            return instance

        _optree().register_pytree_node(kind, apart, together, namespace=NAMESPACE)
        _registered.add(kind)
