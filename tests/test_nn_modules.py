"""Modules print, compute, train and save as PyTorch's do."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad import nn

#: constructors, in which `nn` is the library's, and shapes of inputs, or None where only the text counts
MODULES: list[tuple[str, tuple[int, ...] | None]] = [
    ("nn.Linear(3, 4)", (2, 3)), ("nn.Linear(3, 4, bias=False)", (2, 5, 3)), ("nn.Identity(3, a=4)", (2, 3)),
    ("nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))", (5, 3)),
    ("nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Flatten())", (5, 3)),
    ("nn.Sequential(OrderedDict(a=nn.Linear(3, 3), b=nn.ReLU(inplace=True)))", (5, 3)),
    ("nn.Sequential()", (2,)),
    ("nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3), nn.ReLU()])", None),
    ("nn.ModuleList()", None), ("nn.ModuleDict({'a': nn.Linear(2, 2), 'b': nn.ReLU()})", None),
    ("nn.Conv1d(2, 4, 3)", (2, 2, 8)), ("nn.Conv2d(2, 4, 3)", (2, 2, 6, 7)),
    ("nn.Conv2d(2, 4, (3, 2), 2, 1, 2, 2, False)", (2, 2, 6, 7)),
    ("nn.Conv2d(2, 4, 3, padding='same', padding_mode='circular')", (2, 2, 6, 7)),
    ("nn.Conv2d(2, 4, 3, padding=1, padding_mode='reflect')", (2, 2, 6, 7)),
    ("nn.Conv3d(1, 2, 2)", (1, 1, 3, 3, 3)), ("nn.ConvTranspose2d(2, 4, 3, 2, 1, 1)", (2, 2, 4, 4)),
    ("nn.ConvTranspose1d(2, 4, 3)", (2, 2, 4)), ("nn.MaxPool2d(2)", (2, 3, 4, 5)),
    ("nn.MaxPool2d(3, 2, 1, ceil_mode=True)", (2, 3, 6, 6)), ("nn.MaxPool1d(2)", (2, 3, 4)),
    ("nn.AvgPool2d(2)", (2, 3, 4, 4)), ("nn.AvgPool1d(2)", (2, 3, 4)),
    ("nn.AvgPool2d(3, 2, 1, count_include_pad=False)", (2, 3, 6, 6)),
    ("nn.AdaptiveAvgPool2d((1, 1))", (2, 3, 4, 5)), ("nn.AdaptiveAvgPool2d(3)", (2, 3, 4, 5)),
    ("nn.AdaptiveMaxPool2d(2)", (2, 3, 4, 5)), ("nn.LPPool2d(2, 3)", None), ("nn.BatchNorm1d(3)", (5, 3)),
    ("nn.BatchNorm1d(3, momentum=None)", (5, 3, 2)), ("nn.BatchNorm2d(4, affine=False)", (2, 4, 3, 3)),
    ("nn.BatchNorm1d(3, track_running_stats=False)", (5, 3)), ("nn.LayerNorm(3)", (4, 3)),
    ("nn.LayerNorm((2, 3), bias=False)", (4, 2, 3)), ("nn.GroupNorm(2, 4)", (3, 4, 5)),
    ("nn.InstanceNorm2d(3)", (2, 3, 4, 4)),
    ("nn.InstanceNorm1d(3, affine=True, track_running_stats=True)", (2, 3, 4)),
    ("nn.RMSNorm(3)", (4, 3)), ("nn.Embedding(3, 4)", None), ("nn.Embedding(3, 4, padding_idx=-1)", None),
    ("nn.EmbeddingBag(3, 4)", None), ("nn.Flatten()", (2, 3, 4)), ("nn.Flatten(0, 1)", (2, 3, 4)),
    ("nn.Unflatten(1, (2, 3))", (2, 6)), ("nn.Dropout()", None), ("nn.Dropout2d(0.2, True)", None),
    ("nn.AlphaDropout(0.1)", None), ("nn.CosineSimilarity()", None), ("nn.PairwiseDistance()", None),
    ("nn.ZeroPad2d(1)", (2, 3, 4)), ("nn.ConstantPad2d(1, 2.0)", (2, 3, 4)),
    ("nn.ReflectionPad2d((1, 1, 2, 0))", (2, 3, 4)), ("nn.ReplicationPad1d(2)", (2, 3, 4)),
    ("nn.CircularPad2d(1)", (2, 2, 3, 4)), ("nn.Softmax(dim=1)", (2, 3)), ("nn.Softplus()", (2, 3)),
    ("nn.Hardtanh()", (2, 3)), ("nn.ReLU6()", (2, 3)), ("nn.Hardshrink()", (2, 3)), ("nn.RReLU()", None),
    ("nn.PReLU()", (2, 3)), ("nn.PReLU(3)", (2, 3, 4)), ("nn.Threshold(0.1, 20)", (2, 3)),
    ("nn.GLU()", (2, 4)),
    ("nn.ELU()", (2, 3)), ("nn.CELU(1.5)", (2, 3)), ("nn.GELU()", (2, 3)), ("nn.GELU('tanh')", (2, 3)),
    ("nn.LeakyReLU(0.2, True)", None), ("nn.SELU()", (2, 3)), ("nn.SiLU()", (2, 3)), ("nn.Mish()", (2, 3)),
    ("nn.Sigmoid()", (2, 3)), ("nn.LogSigmoid()", (2, 3)), ("nn.Softsign()", (2, 3)),
    ("nn.Tanhshrink()", (2, 3)),
    ("nn.Hardswish()", (2, 3)), ("nn.Hardsigmoid()", (2, 3)), ("nn.Softshrink()", (2, 3)),
    ("nn.Softmin(1)", (2, 3)),
    ("nn.LogSoftmax(1)", (2, 3)), ("nn.Softmax2d()", (2, 3, 4, 4)), ("nn.Unfold(2)", (1, 2, 3, 3)),
    ("nn.Fold((2, 2), 2)", None), ("nn.Bilinear(2, 3, 4)", None),
    *((f"nn.{name}()", None) for name in (
        "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "CrossEntropyLoss", "NLLLoss", "BCELoss",
        "KLDivLoss",
        "BCEWithLogitsLoss", "PoissonNLLLoss", "GaussianNLLLoss", "HingeEmbeddingLoss", "CosineEmbeddingLoss",
        "MarginRankingLoss", "SoftMarginLoss", "MultiMarginLoss", "MultiLabelMarginLoss", "TripletMarginLoss",
        "MultiLabelSoftMarginLoss",
    )),
]  # fmt: skip


def pair(text: str, kind: str = "float64") -> tuple[Any, Any]:
    """A module of each library, with the same parameters."""
    torch = pytest.importorskip("torch")
    ours = eval(text, {"nn": nn, "OrderedDict": OrderedDict}).to(getattr(tg, kind))
    theirs = eval(text, {"nn": torch.nn, "OrderedDict": OrderedDict}).to(getattr(torch, kind))
    theirs.load_state_dict(
        {k: torch.from_numpy(x.numpy().copy()) for k, x in ours.state_dict().items()}
    )
    return ours, theirs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("text", "shape"), MODULES, ids=[text for text, _ in MODULES])
def test_modules_are_those_of_pytorch(text: str, shape: tuple[int, ...] | None) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = pair(text)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, p in ours.named_parameters():
        assert tuple(p.shape) == tuple(theirs.get_parameter(name).shape)
    if shape is None:
        return
    array = np.random.RandomState(1).standard_normal(shape)
    for training in (True, False, True):
        x, y = tg.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
        ours.train(training), theirs.train(training)
        # an operation between, for modules that write in place
        a, b = ours(x * 1.0), theirs(y * 1.0)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-7, atol=1e-9)
        (a * a).sum().backward()
        (b * b).sum().backward()
        pairs = [(x, y), *zip(ours.parameters(), theirs.parameters(), strict=True)]
        for p, q in pairs:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-7, atol=1e-9)
        ours.zero_grad(), theirs.zero_grad()
    for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_a_hundred_steps_of_descent_are_those_of_pytorch(kind: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = pair(
        "nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))", kind
    )
    random = np.random.RandomState(2)
    x, t = random.standard_normal((20, 6)).astype(kind), random.randint(0, 3, 20)

    def losses(library: Any, model: Any) -> list[float]:
        inputs, targets = library.from_numpy(x), library.from_numpy(t)
        values, criterion = [], library.nn.CrossEntropyLoss(label_smoothing=0.1)
        for _ in range(100):
            loss = criterion(model(inputs), targets)
            model.zero_grad()
            loss.backward()
            with library.no_grad():
                for p in model.parameters():
                    p -= 0.3 * p.grad
            values.append(loss.item())
        return values

    a, b = losses(tg, ours), losses(torch, theirs)
    np.testing.assert_allclose(a, b, rtol=1e-9 if kind == "float64" else 2e-3)
    assert a[-1] < a[0] / 1.5


def test_loss_modules_have_weights_as_buffers() -> None:
    torch = pytest.importorskip("torch")
    x, w = np.random.RandomState(3).standard_normal((4, 3)), np.array([0.2, 1.0, 2.0])
    for name, target, options in (
        ("CrossEntropyLoss", np.array([0, 2, 1, 1]), {"ignore_index": 1, "reduction": "sum"}),
        ("NLLLoss", np.array([0, 2, 1, 1]), {}), ("BCEWithLogitsLoss", np.eye(4, 3), {"reduction": "none"}),
    ):  # fmt: skip
        a = getattr(nn, name)(weight=tg.tensor(w), **options)
        b = getattr(torch.nn, name)(weight=torch.tensor(w), **options)
        assert list(a.state_dict()) == list(b.state_dict()) == ["weight"]
        ours, theirs = a(tg.tensor(x), tg.tensor(target)), b(torch.tensor(x), torch.tensor(target))
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)
    with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
        assert nn.MSELoss(size_average=False).reduction == "sum"


# --------------------------------------------------------------------------- misuse
class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("mean", tg.zeros(2))
        self.register_buffer("hidden", tg.zeros(2), persistent=False)

    def forward(self, x: Any) -> Any:
        return self.fc(x) + self.mean


MISUSES = [
    "m.fc = 3", "m.fc.weight = torch.zeros(2)", "m.mean = 3", "m.register_parameter('a.b', None)",
    "m.register_parameter('', None)", "m.register_parameter('fc', None)", "m.register_parameter(3, None)",
    "m.register_parameter('w', torch.zeros(2))", "m.register_buffer('fc', torch.zeros(2))",
    "m.register_buffer('q', 3)", "m.add_module('a', 3)", "m.add_module('a.b', nn.ReLU())", "m.nothing",
    "m.get_submodule('fc.weight')", "m.get_submodule('fd')", "m.get_parameter('mean')",
    "m.get_buffer('fc.bias')",
    "m.load_state_dict(3)", "m.load_state_dict({})",
    "m.load_state_dict({**m.state_dict(), 'x': torch.zeros(2)})",
    "m.load_state_dict({**m.state_dict(), 'fc.bias': torch.zeros(3), 'fc.x': torch.zeros(1)})",
    "m.load_state_dict({**m.state_dict(), 'mean': 3})", "m.train('yes')", "m.to(torch.int64)",
    "nn.Module()(3)", "nn.Sequential(3)", "nn.Sequential(nn.ReLU())[1]", "nn.Sequential() + 3",
    "nn.ModuleList([3])", "nn.ModuleList(3)", "nn.ModuleDict(3)", "nn.ParameterList(3)",
    "nn.Conv2d(3, 4, 2, groups=2)",
    "nn.Conv2d(2, 3, 2, groups=2)", "nn.Conv2d(2, 2, 2, 2, padding='same')",
    "nn.GroupNorm(3, 4)", "nn.Dropout(2.0)", "nn.BatchNorm1d(3)(torch.zeros(3))",
    "nn.BatchNorm2d(3)(torch.zeros(2, 3))",
    "nn.Embedding(3, 2, padding_idx=4)", "nn.init.eye_(torch.zeros(3))",
    "nn.init.xavier_uniform_(torch.zeros(3))",
    "nn.init.calculate_gain('swish')", "nn.init.kaiming_normal_(torch.zeros(2, 2), mode='fan')",
    "nn.init.orthogonal_(torch.zeros(2))", "nn.utils.vector_to_parameters(3, [])",
    "nn.utils.clip_grad_norm_([p(float('nan'))], 1.0, error_if_nonfinite=True)", "m(torch.zeros(2, 4))",
]  # fmt: skip


def outcome(library: Any, text: str) -> tuple[str, str]:
    """The error of a misuse."""
    space: dict[str, Any] = {"nn": library.nn, "tg": library}
    if library is not tg:

        class Theirs(library.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.fc = library.nn.Linear(3, 2)
                self.register_buffer("mean", library.zeros(2))
                self.register_buffer("hidden", library.zeros(2), persistent=False)

            def forward(self, x: Any) -> Any:
                return self.fc(x) + self.mean

        Theirs.__name__ = Theirs.__qualname__ = "Net"
        space["m"] = Theirs()
    else:
        space["m"] = Net().float()

    def p(number: float) -> Any:
        made = library.nn.Parameter(library.zeros(2))
        made.grad = library.full((2,), number)
        return made

    space |= {"torch": library, "p": p}
    with pytest.raises(Exception) as info:  # noqa: PT011 - the class is compared
        exec(text, space)
    return info.type.__name__, str(info.value)


@pytest.mark.parametrize("text", MISUSES)
def test_misuse_raises_the_errors_of_pytorch(text: str) -> None:
    torch = pytest.importorskip("torch")
    kind, words = outcome(tg, text)
    expected, theirs = outcome(torch, text)
    assert kind == expected, (words, theirs)
    for name in ("tapegrad.nn.modules", "torch.nn.modules", "tapegrad.", "torch."):
        words, theirs = words.replace(name, ""), theirs.replace(name, "")
    assert words.replace("DoubleTensor", "FloatTensor") == theirs
