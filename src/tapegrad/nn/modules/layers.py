"""Other modules: tables (`Embedding`), `Dropout`, `Flatten`, padding, distances."""

from __future__ import annotations

from typing import Any, ClassVar

from ...tensors.tensor import Tensor
from .. import init
from ..operations import layers
from ..operations.normalization import cosine_similarity, pairwise_distance
from ..operations.windows import as_tuple
from ..parameter import Parameter
from .linear import empty_parameter
from .module import Module
from .stateless import Stateless

__all__ = [
    "AlphaDropout", "CircularPad1d", "CircularPad2d", "ConstantPad1d", "ConstantPad2d", "CosineSimilarity",
    "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "Embedding", "EmbeddingBag", "FeatureAlphaDropout",
    "Flatten", "PairwiseDistance", "ReflectionPad1d", "ReflectionPad2d", "ReplicationPad1d",
    "ReplicationPad2d", "Unflatten", "ZeroPad1d", "ZeroPad2d",
]  # fmt: skip


# --------------------------------------------------------------------------- tables
class Embedding(Module):
    """A table of vectors, which are parameters, by numbers.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Of the table; its first values are standard normal.
    padding_idx : int, optional
        A row that is zero, and gets no gradient.
    """

    weight: Tensor

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False, _weight: Any = None, _freeze: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise AssertionError("Padding_idx must be within num_embeddings")
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is not None:
            if tuple(_weight.shape) != (num_embeddings, embedding_dim):
                raise AssertionError(
                    "Shape of weight does not match num_embeddings and embedding_dim"
                )
            self.weight = Parameter(_weight, requires_grad=not _freeze)
            return
        new = empty_parameter(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.weight = new.requires_grad_(not _freeze)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new first values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            init.zeros_(self.weight[self.padding_idx].detach())

    def forward(self, input: Any) -> Tensor:
        """Return the rows of the table."""
        return layers.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.sparse,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None, **options: Any
    ) -> Embedding:
        """Return a table of given vectors, by default without gradients."""
        if embeddings.ndim != 2:
            raise AssertionError("Embeddings parameter is expected to be 2-dimensional")
        rows, features = embeddings.shape
        options |= {"padding_idx": padding_idx, "_weight": embeddings, "_freeze": freeze}
        return cls(rows, features, **options)

    def extra_repr(self) -> str:
        """Return the sizes."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"


class EmbeddingBag(Module):
    """Sums, means or maxima of rows of a table, for bags of one length."""

    weight: Tensor

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, mode: str = "mean", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.mode = mode
        self.weight = empty_parameter(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new first values."""
        init.normal_(self.weight)

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        """Return a vector a bag."""
        return layers.embedding_bag(
            input, self.weight, offsets, mode=self.mode, per_sample_weights=per_sample_weights
        )

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}"


# --------------------------------------------------------------------------- dropout
class Dropout(Stateless):
    """`dropout`, in training only."""

    function = layers.dropout
    options: ClassVar[dict[str, Any]] = {"p": 0.5, "inplace": False}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {self.p}")

    def forward(self, input: Any) -> Tensor:
        """Return the input, some of it zero."""
        result: Tensor = type(self).function(input, self.p, self.training, self.inplace)
        return result

    def extra_repr(self) -> str:
        """Return the options."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """`dropout1d`: of whole channels."""

    function = layers.dropout1d


class Dropout2d(Dropout):
    """`dropout2d`: of whole channels of images."""

    function = layers.dropout2d


class Dropout3d(Dropout):
    """`dropout3d`: of whole channels of volumes."""

    function = layers.dropout3d


class AlphaDropout(Dropout):
    """`alpha_dropout`: mean and variance stay."""

    function = layers.alpha_dropout


class FeatureAlphaDropout(Dropout):
    """`feature_alpha_dropout`: of whole channels; mean and variance stay."""

    function = layers.feature_alpha_dropout


# --------------------------------------------------------------------------- shapes
class Flatten(Module):
    """`flatten`: dimensions as one, by default all but the first."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Tensor:
        """Return the input in another shape."""
        result: Tensor = input.flatten(self.start_dim, self.end_dim)
        return result

    def extra_repr(self) -> str:
        """Return the dimensions."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """`unflatten`: a dimension as several."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Any) -> Tensor:
        """Return the input in another shape."""
        result: Tensor = input.unflatten(self.dim, self.unflattened_size)
        return result

    def extra_repr(self) -> str:
        """Return the dimension and its sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class _Pad(Module):
    """`pad` of the last dimensions, in one of its modes."""

    dims: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = as_tuple(type(self).__name__, "padding", padding, 2 * self.dims)

    def forward(self, input: Any) -> Tensor:
        """Return the padded input."""
        result: Tensor = layers.pad(input, list(self.padding), self.mode)
        return result

    def extra_repr(self) -> str:
        """Return the amounts."""
        return f"{self.padding}"


class ReflectionPad1d(_Pad):
    """`pad` with elements reflected at the ends."""

    dims, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """`pad` of images with elements reflected at the ends."""

    dims, mode = 2, "reflect"


class ReplicationPad1d(_Pad):
    """`pad` with the elements at the ends."""

    dims, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """`pad` of images with the elements at the ends."""

    dims, mode = 2, "replicate"


class CircularPad1d(_Pad):
    """`pad` with the elements from the other end."""

    dims, mode = 1, "circular"


class CircularPad2d(_Pad):
    """`pad` of images with the elements from the other end."""

    dims, mode = 2, "circular"


class ConstantPad1d(_Pad):
    """`pad` with a number."""

    dims, mode = 1, "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Tensor:
        """Return the padded input."""
        result: Tensor = layers.pad(input, list(self.padding), "constant", self.value)
        return result

    def extra_repr(self) -> str:
        """Return the amounts and the number."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """`pad` of images with a number."""

    dims = 2


class ZeroPad1d(ConstantPad1d):
    """`pad` with zeros."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """Return the amounts."""
        return f"{self.padding}"


class ZeroPad2d(ZeroPad1d):
    """`pad` of images with zeros."""

    dims = 2


# --------------------------------------------------------------------------- distances
class CosineSimilarity(Module):
    """`cosine_similarity` of two tensors, over a dimension."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Any, x2: Any) -> Tensor:
        """Return the similarities."""
        result: Tensor = cosine_similarity(x1, x2, self.dim, self.eps)
        return result


class PairwiseDistance(Module):
    """`pairwise_distance` of the rows of two tensors."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Any, x2: Any) -> Tensor:
        """Return the distances."""
        result: Tensor = pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
        return result
