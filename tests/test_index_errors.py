"""Error texts of square brackets, gather, scatter and masks, and that they are PyTorch's."""

# ruff: noqa: E501  (the tables are one case a line, and hold long messages)

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from index_samples import SHAPE, needs_torch, torch, values

import tapegrad as tg

_BAD = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got {})"
_INTS = "tensors used as indices must be long, int, byte or bool tensors"
_MANY = "too many indices for tensor of dimension {}"
_DIM = "Dimension out of range (expected to be in range of [{}, {}], but got {})"
#: expression, type and text; x has shape (2, 3, 4), m (3, 4), v (4,), z ()
ERRORS: list[tuple[str, type[Exception], str]] = [
    ("x[5]", IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    ("x[-3]", IndexError, "index -3 is out of bounds for dimension 0 with size 2"),
    ("x[0,3]", IndexError, "index 3 is out of bounds for dimension 1 with size 3"),
    ("x[0,0,4]", IndexError, "index 4 is out of bounds for dimension 2 with size 4"),
    ("x[0,0,0,0]", IndexError, _MANY.format(3)),
    ("x[:,:,:,[0]]", IndexError, _MANY.format(3)),
    ("x[None,None,0,0,0,0]", IndexError, _MANY.format(3)),
    ("x[t([[[[True]]]])]", IndexError, _MANY.format(3)),
    ("x[::-1,[0]]", ValueError, "step must be greater than zero"),
    ("x[[0],::-2]", ValueError, "step must be greater than zero"),
    ("x[::0]", ValueError, "slice step cannot be zero"),
    ("x['a']", TypeError, "new(): invalid data type 'str'"),
    ("x[0,'a']", TypeError, "new(): invalid data type 'str'"),
    ("x[1.5]", IndexError, _BAD.format("float")),
    ("x[0,1.5]", IndexError, _BAD.format("float")),
    ("x[{0}]", IndexError, _BAD.format("set")),
    ("x[t(1.5)]", IndexError, _INTS),
    ("x[t([1.5])]", IndexError, _INTS),
    ("x[0.:1]", TypeError, "slice indices must be integers or None or have an __index__ method"),
    ("x[10**30]", ValueError, "Overflow when unpacking long long"),
    ("x[2**70,0]", ValueError, "Overflow when unpacking long long"),
    ("x[[2**70]]", ValueError, "Overflow when unpacking long long"),
    ("x[[0,5]]", IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    ("x[:,[0,5]]", IndexError, "index 5 is out of bounds for dimension 0 with size 3"),
    ("x[[0,-3]]", IndexError, "index -3 is out of bounds for dimension 0 with size 2"),
    ("x[t(5)]", IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    ("x[[0,1],[[5]]]", IndexError, "index 5 is out of bounds for dimension 1 with size 3"),
    ("x[t([0,9]),t([7,0])]", IndexError, "index 7 is out of bounds for dimension 1 with size 3"),
    ("x[[0,1],[0,1,2]]", IndexError, "shape mismatch: indexing tensors could not be broadcast together with shapes [2], [3]"),
    ("x[False,[0,1]]", IndexError, "shape mismatch: indexing tensors could not be broadcast together with shapes [0], [2]"),
    ("x[[True,False,True]]", IndexError, "The shape of the mask [3] at index 0 does not match the shape of the indexed tensor [2, 3, 4] at index 0"),
    ("x[t([[True]*4]*2)]", IndexError, "The shape of the mask [2, 4] at index 1 does not match the shape of the indexed tensor [2, 3, 4] at index 1"),
    ("x[:,t([True]*2)]", IndexError, "The shape of the mask [2] at index 0 does not match the shape of the indexed tensor [2, 3, 4] at index 1"),
    ("x[:0][[0]]", IndexError, "index is out of bounds for dimension with size 0"),
    ("z[0]", IndexError, "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"),
    ("z[:]", IndexError, "slice() cannot be applied to a 0-dim tensor."),
    ("z[[0]]", IndexError, _MANY.format(0)),
    ("z[t(0)]", IndexError, _MANY.format(0)),
    ("x.index_put((t([5]),),z)", IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    ("x.index_put((t([0.]),),z)", IndexError, _INTS),
    ("x.index_put((t([0]),),v[:3])", RuntimeError, "shape mismatch: value tensor of shape [3] cannot be broadcast to indexing result of shape [1, 3, 4]"),
    ("x.index_put((t([0]),)*4,z)", IndexError, "too many indices for tensor of dimension 3 (got 4)"),
    ("x.index_put(t([0]),z)", TypeError, "index_put(): argument 'indices' (position 1) must be tuple of Tensors, not Tensor"),
    ("x.index_put((t([0]),),'a')", TypeError, "index_put(): argument 'values' (position 2) must be Tensor, not str"),
    ("x.index_put((t([0]),),t(1))", RuntimeError, "Index put requires the source and destination dtypes match, got Double for the destination and Long for the source."),
    ("m.gather(0,t([5]))", RuntimeError, "Index tensor must have the same number of dimensions as input tensor"),
    ("m.gather(0,t([[5]]))", RuntimeError, "index 5 is out of bounds for dimension 0 with size 3"),
    ("m.gather(0,t([[-1]]))", RuntimeError, "index -1 is out of bounds for dimension 0 with size 3"),
    ("m.gather(0,t([[0.]]))", RuntimeError, "gather(): Expected dtype int32/int64 for index"),
    ("m.gather(3,t([[0]]))", IndexError, _DIM.format(-2, 1, 3)),
    ("m.gather(1,t([[0]]*4))", RuntimeError, "Size does not match at dimension 0 expected index [4, 1] to be no larger than self [3, 4] apart from dimension 1"),
    ("m.gather(0,'a')", TypeError, "gather(): argument 'index' (position 2) must be Tensor, not str"),
    ("m.scatter(0,t([[5]]),m)", RuntimeError, "index 5 is out of bounds for dimension 0 with size 3"),
    ("m.scatter(0,t([5]),m)", RuntimeError, "Index tensor must have the same number of dimensions as self tensor"),
    ("m.scatter(0,t([[0.]]),m)", RuntimeError, "scatter(): Expected dtype int32/int64 for index"),
    ("m.scatter(0,t([[0]]*5),m)", RuntimeError, "Expected index [5, 1] to be no larger than self [3, 4] apart from dimension 0 and to be no larger size than src [3, 4]"),
    ("m.scatter(0,t([[0]]),t([[1]]))", RuntimeError, "scatter(): Expected self.dtype to be equal to src.dtype"),
    ("m.scatter(0,t([[0]]),z)", RuntimeError, "Index tensor must have the same number of dimensions as src tensor"),
    ("m.scatter(0,t([[0]]),m,reduce='zz')", RuntimeError, "reduce argument must be either add or multiply."),
    ("m.scatter_add(0,t([[0]]),'a')", TypeError, "scatter_add(): argument 'src' (position 3) must be Tensor, not str"),
    ("m.index_select(0,t([5]))", IndexError, "index out of range in self"),
    ("m.index_select(0,t([-1]))", IndexError, "index out of range in self"),
    ("m.index_select(0,t([[0]]))", IndexError, "index_select(): Index is supposed to be a vector"),
    ("m.index_select(0,t([0.]))", RuntimeError, "index_select(): Expected dtype int32 or int64 for index"),
    ("z.index_select(0,t([0,0]))", RuntimeError, "index_select(): Index to scalar can have only 1 value, got 2 value(s)"),
    ("m.index_add(0,t([0]),m)", RuntimeError, "index_add_(): Number of indices (1) should be equal to source.size(dim): (3), for dim: 0"),
    ("m.index_add(0,t([5]),m[:1])", RuntimeError, "index 5 is out of bounds for dimension 0 with size 3"),
    ("m.index_add(0,t([0]),m[:1,:2])", RuntimeError, "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = [3, 4] source.shape = [1, 2]"),
    ("m.index_copy(0,t([5]),m[:1])", IndexError, "index_copy_(): index 5 is out of bounds for dimension 0 with size 3"),
    ("m.index_fill(0,t([5]),2.)", IndexError, "index 5 is out of bounds for dimension 0 with size 3"),
    ("m.take(t([50]))", IndexError, "out of range: tried to access index 50 on a tensor of 12 elements."),
    ("m.take(t([0.]))", RuntimeError, "take(): Expected a long tensor for index, but got Double"),
    ("m[:0].take(t([0]))", IndexError, "take(): tried to take from an empty tensor"),
    ("tg.take_along_dim(m,t([5]),1)", RuntimeError, "torch.take_along_dim(): input and indices should have the same number of dimensions, but got 2 dimensions for input, and 1 dimensions for indices"),
    ("m.masked_fill(m,0.)", RuntimeError, "masked_fill_ only supports boolean masks, but got mask with dtype double"),
    ("m.masked_fill(m>0,v[:3])", RuntimeError, "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with 1 dimension(s)."),
    ("m.masked_fill(v[:3]>0,0.)", RuntimeError, "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1"),
    ("m.masked_select(m)", RuntimeError, "masked_select: expected BoolTensor for mask"),
    ("m.masked_select(v[:3]>0)", RuntimeError, "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1"),
    ("one_hot(t([5]),3)", RuntimeError, "Class values must be smaller than num_classes."),
    ("one_hot(t([-1]),3)", RuntimeError, "Class values must be non-negative."),
    ("one_hot(t([1.]),3)", RuntimeError, "one_hot is only applicable to index tensor of type LongTensor."),
]  # fmt: skip


def raised(namespace: Any, one_hot: Any, expression: str) -> tuple[type[Exception], str]:
    x = namespace.tensor(values(*SHAPE))
    names = {"tg": namespace, "t": namespace.tensor, "one_hot": one_hot}
    names |= {"x": x, "m": x[0], "v": x[0, 0], "z": x[0, 0, 0]}
    with pytest.raises(Exception) as caught:  # noqa: PT011
        eval(expression, names)
    return caught.type, str(caught.value)


@pytest.fixture
def torch_in_float64() -> Any:
    with contextlib.ExitStack() as stack:
        torch.set_default_dtype(torch.float64)
        stack.callback(torch.set_default_dtype, torch.float32)
        yield


@pytest.mark.parametrize(("expression", "kind", "text"), ERRORS, ids=[e[0] for e in ERRORS])
def test_error(expression: str, kind: type[Exception], text: str) -> None:
    assert raised(tg, tg.one_hot, expression) == (kind, text)


@needs_torch
@pytest.mark.usefixtures("torch_in_float64")
@pytest.mark.filterwarnings("ignore:The reduce argument")
@pytest.mark.parametrize(("expression", "kind", "text"), ERRORS, ids=[e[0] for e in ERRORS])
def test_error_is_torchs(expression: str, kind: type[Exception], text: str) -> None:
    assert raised(torch, torch.nn.functional.one_hot, expression) == (kind, text)
