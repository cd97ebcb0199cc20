"""The comparison of what two libraries did with a script, and the shrinking of a script that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import tapegrad as tg

from .script import Leaf, Line, Outcome, Script, outcome

__all__ = ["FREED", "OVERLAP", "STALE", "Verdict", "judge", "shrunk"]

NO_GRAD_VIEW = "A view was created in no_grad mode and is being modified inplace"
NO_GRAD_BASE = "A view was created in no_grad mode and its base or another view of its base"
#: torch's zeros without memory, which its own derivatives cannot write
ZERO_TENSOR = "ZeroTensors are immutable"
USED_VIEW = "is a view and its base or another view of its base has been modified inplace"
MULTIPLE_VIEWS = "is the output of a function that returns multiple views"
STALE = "modified by an inplace operation"
FREED = "Trying to backward through the graph a second time"
#: what torch says of derivatives that do not require grad there, or are of another dtype
NO_GRAPH = (
    "element 0 of tensors does not require grad",
    "One of the differentiated Tensors does not require grad",
    "cannot register a hook on a tensor that doesn't require gradient",
    "a leaf Variable that requires grad is being used in an in-place operation",
    "have the same dtype",  # transforms of transforms of float32 are float64 there, with that default
)
#: functions whose factor counts as saved, and views whose base does: docs/pytorch_differences.md
MORE_SAVED = ("alpha=", "lerp", "trapezoid", "trapz", ".unfold(", "expand")
#: writes of elements that share memory: torch raises for some, and for others computes nonsense
OVERLAP = ("unsupported operation: some elements", "unsupported operation: more than one element")
#: functions whose derivatives go to one of several equal elements; the libraries' differ in the last bit
SORTING = (".sort(", ".topk(", ".median(", ".kthvalue(", ".max(", ".min(", "msort(")
#: a program whose results move by more than so much of the difference under a tiny change is no evidence
SENSITIVE = 0.02
#: float32 results may be so many times as far from those in double precision as torch's are
ROUNDING = 10.0


class Verdict(str):
    """A word for the comparison's end, ``"same"`` or why nothing can be said, else where they differ.

    Attributes
    ----------
    is_wrong : bool
    """

    is_wrong = False

    @classmethod
    def wrong(cls, text: str) -> Verdict:
        """A difference."""
        verdict = cls(text)
        verdict.is_wrong = True
        return verdict


def transforms(script: Script) -> bool:
    """Return True if a script uses transforms, or cotangents or graphs of derivatives that vanish."""
    words = ("lib.func", "jvp(", "vjp(", "is_grads_batched=True", "create_graph=True")
    return any(word in script.text() for word in words)


def _errors(script: Script, ours: Outcome, theirs: Outcome) -> Verdict | None:
    for line, error, other in zip(script.lines, ours.errors, theirs.errors, strict=True):
        if str(other).startswith(OVERLAP) or str(error).startswith(OVERLAP):
            return Verdict("overlap")
        if error is None and other is None:
            continue
        if isinstance(error, NameError) or isinstance(other, NameError):
            return Verdict("names")
        texts = f"{line.text}\n  tapegrad: {error!r}\n  torch: {other!r}"
        if error is None or other is None:
            if isinstance(error, tg.UnsupportedError):
                return Verdict("unsupported here")
            if ZERO_TENSOR in str(other) or "INTERNAL ASSERT FAILED" in str(other):
                return Verdict("unsupported there")
            if NO_GRAD_VIEW in str(other):  # torch's gradients may be views; ours are not
                return Verdict("unsupported there")
            if USED_VIEW in str(other):  # docs/pytorch_differences.md: ours may be used
                return Verdict("unsupported there")
            if (
                MULTIPLE_VIEWS in str(other) and transforms(script)
            ):  # as are its transforms' results, and those whose derivatives vanish have a graph there
                return Verdict("unsupported there")
            if any(w in str(other) for w in NO_GRAPH) and transforms(script):
                return Verdict("unsupported there")
            if FREED in str(error) and any(word in script.text() for word in MORE_SAVED):
                return Verdict("freed here")
            if line.lenient:
                return Verdict("unsupported here" if error is not None else "unsupported there")
            if error is None and FREED in str(
                other
            ):  # where nothing is saved, nothing is freed here
                return Verdict("freed there")
            if STALE in str(error or other):
                return Verdict("stale here" if error is not None else "stale there")
            return Verdict.wrong(texts)
        if (
            type(error) is not type(other)
            and not isinstance(error, type(other))
            and not line.lenient
        ):
            return Verdict.wrong(texts)
    return None


def _parts(
    ours: Outcome, theirs: Outcome, rtol: float, transformed: bool
) -> Iterator[tuple[str, str, float]]:
    """Differences of parts: where, in words, and how large."""
    has_ended = ours.end() is not None or theirs.end() is not None
    for name, part in ours.parts.items():
        other = theirs.parts.get(name)
        if has_ended and (name in ("log", "kept") or other is None):
            continue  # a pass that fails may have come by some hooks, or none
        if isinstance(part, Exception) or isinstance(other, Exception):
            continue
        if name == "requires_grad" and transformed:
            continue  # where a derivative vanishes identically, torch may still have a graph, or we
        if other is None:  # torch knows that a derivative vanishes identically; ours may be zeros
            if any(np.any(np.nan_to_num(a)) for a in part):
                yield name, "torch has none", np.inf
            continue
        if len(part) != len(other):
            yield name, f"{len(part)} tensors, torch {len(other)}", np.inf
            continue
        for i, (a, b) in enumerate(zip(part, other, strict=True)):
            if a.dtype.kind == b.dtype.kind == "f" and transformed:
                a = a.astype(b.dtype)  # torch's jacfwd has its basis in the default dtype
            if a.shape != b.shape or a.dtype != b.dtype:
                text = f"{a.dtype} {a.shape}, torch {b.dtype} {b.shape}"
                yield name, f"tensor {i}: {text}", np.inf
                continue
            if b.dtype.kind == "f" and (transformed or name.startswith("order")):
                b = np.where(np.isnan(b) & np.isfinite(a), a, b)  # torch has NaN at high orders
            finite = np.abs(b[np.isfinite(b)]) if b.dtype.kind == "f" else np.abs(b)
            scale = float(np.max(finite, initial=1.0)) if b.dtype.kind == "f" else 1.0
            if not np.allclose(a, b, rtol=rtol, atol=0.1 * rtol * scale, equal_nan=True):
                with np.errstate(all="ignore"):
                    distance = float(np.max(np.abs(a - b))) if a.dtype.kind == "f" else np.inf
                yield name, f"tensor {i}:\n{a}\ntorch\n{b}", distance
    for name, other in theirs.parts.items():
        missing = name not in ours.parts and not has_ended
        if missing and any(np.any(b) for b in other):
            yield name, "tapegrad has none", np.inf


def judge(
    script: Script, ours: Outcome, theirs: Outcome, other_library: Any = None, rtol: float = 1e-7
) -> Verdict:
    """Compare outcomes; with the other library at hand, see if the program is well conditioned."""
    verdict = _errors(script, ours, theirs)
    if verdict is not None:
        return verdict
    end, other_end = ours.end(), theirs.end()
    single = any(leaf.array.dtype == np.float32 for leaf in script.leaves) or any(
        ".float()" in line.text for line in script.lines
    )
    transformed = transforms(script)
    differences = list(_parts(ours, theirs, 3e-4 if single else rtol, transformed))
    if differences:
        name, text, distance = differences[0]
        hooked = "register_" in script.text() or "retain_grad" in script.text()
        by_graph = "create_graph" in script.text() or (transformed and name in ("log", "kept"))
        if hooked and by_graph:  # they depend on what derivatives are written in
            return Verdict("hooks at order 2")
        if any(word in script.text() for word in SORTING) and _has_ties(theirs):
            return Verdict("ties")
        if (
            transformed and ".unfold(" in script.text()
        ):  # torch's vmap is wrong where inputs overlap
            return Verdict("overlap")
        if transformed and other_library is not None:
            both = [outcome(script, lib, positive=True) for lib in (tg, other_library)]
            if not list(_parts(*both, 3e-4 if single else rtol, transformed)):
                return Verdict("signs of zeros")
        if single and np.isfinite(distance) and other_library is not None:
            exact = outcome(_doubled(script), other_library)
            if _distance(ours, exact, name) <= ROUNDING * _distance(theirs, exact, name):
                return Verdict("rounding")
        if np.isfinite(distance) and other_library is not None:
            for draw in range(3):
                moved = outcome(_moved(script, 1e-6 if single else 1e-10, draw), other_library)
                if _distance(moved, theirs, name) > SENSITIVE * distance:
                    return Verdict("ill conditioned")
        return Verdict.wrong(f"{name}, {text}")
    if (end is None) != (other_end is None):
        if isinstance(end, tg.UnsupportedError):
            return Verdict("unsupported here")
        there = (USED_VIEW, NO_GRAD_BASE, ZERO_TENSOR, "is not implemented")
        if any(w in str(other_end) for w in there) or str(other_end).startswith(OVERLAP):
            return Verdict("unsupported there")
        for word, label in ((STALE, "stale"), (FREED, "freed")):
            if word in str(end or other_end):
                return Verdict(f"{label} {'here' if end is not None else 'there'}")
        if "is_grads_batched" in script.text() or "lib.func" in script.text():
            return Verdict("unsupported here" if end is not None else "unsupported there")
        return Verdict.wrong(f"derivatives: tapegrad {end!r}, torch {other_end!r}")
    return Verdict("same" if end is None else "same error")


def _has_ties(outcome: Outcome) -> bool:
    """Return True if a value has elements that are equal but for rounding."""
    values = [np.sort(v, axis=None) for v in outcome.parts["values"] if v.dtype.kind == "f"]
    with np.errstate(all="ignore"):
        return any(np.any(np.diff(v) < 1e-14 * np.abs(v[1:])) for v in values)


def _doubled(script: Script) -> Script:
    """The script in double precision."""
    leaves = [
        Leaf(x.array.astype(np.float64) if x.array.dtype == np.float32 else x.array, x.active)
        for x in script.leaves
    ]
    lines = [
        replace(line, text=line.text.replace("float32", "float64").replace(".float()", ".double()"))
        for line in script.lines
    ]
    return Script(leaves, lines, script.order)


def _moved(script: Script, by: float, draw: int) -> Script:
    rng = np.random.default_rng(draw)
    leaves = []
    for leaf in script.leaves:
        factor = 1 + by * rng.choice([-1, 1], leaf.array.shape)
        leaves.append(Leaf(np.asarray(leaf.array * factor, leaf.array.dtype), leaf.active))
    return Script(leaves, script.lines, script.order)


def _distance(a: Outcome, b: Outcome, name: str) -> float:
    first, second = a.parts.get(name), b.parts.get(name)
    if not isinstance(first, list) or not isinstance(second, list) or len(first) != len(second):
        return np.inf
    with np.errstate(all="ignore"):
        distances = [
            float(np.nanmax(np.abs(x - y), initial=0.0))
            if x.shape == y.shape and x.dtype.kind == "f"
            else 0.0
            for x, y in zip(first, second, strict=True)
        ]
    return max(distances, default=0.0)


def shrunk(script: Script, is_wrong: Callable[[Script], bool]) -> Script:
    """Return a shorter script that is still wrong: without lines, then of lower order."""
    lines: list[Line] = list(script.lines)
    size = max(1, len(lines) // 2)
    while size:
        start = len(lines)
        while start > 0:
            start -= size
            low = max(0, start)
            shorter = lines[:low] + lines[low + size :]
            if len(shorter) < len(lines) and is_wrong(Script(script.leaves, shorter, script.order)):
                lines = shorter
        size //= 2
    order = script.order
    while order > 0 and is_wrong(Script(script.leaves, lines, order - 1)):
        order -= 1
    return Script(script.leaves, lines, order)
