"""Modules in programs: hooks, copies, pickles, transforms, jit; `nn.init` and `nn.utils`."""

from __future__ import annotations

import copy
import pickle
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
import tapegrad.nn.functional as F
from tapegrad import nn
from tapegrad.func import functional_call, grad, jvp, stack_module_state, vmap
from tapegrad.jit_compiler import scripting


class Net(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, width)
        self.fc2 = nn.Linear(width, 2)
        self.scale = 2.0

    def forward(self, x: Any) -> Any:
        factor = self.scale if self.training else 1.0
        return self.fc2(F.relu(self.fc1(x))) * factor


@pytest.fixture
def net() -> Net:
    tg.manual_seed(0)
    return Net()


@pytest.fixture
def batch() -> Any:
    tg.manual_seed(1)
    return tg.randn(5, 3)


# --------------------------------------------------------------------------- parameters
def test_parameters_are_tensors_of_a_class_of_their_own() -> None:
    p = nn.Parameter(tg.ones(2))
    assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    assert isinstance(p, nn.Parameter)
    assert isinstance(p, tg.Tensor)
    for x in (p * 2, p + p, 3 - p, p[0], p.detach(), p.clone(), p.data, tg.exp(p)):
        assert type(x) is tg.Tensor
    (p * p).sum().backward()
    assert type(p.grad) is tg.Tensor
    np.testing.assert_array_equal(p.grad.numpy(), [2.0, 2.0])
    assert not nn.Parameter(tg.tensor([1, 2]), requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="data has to be a Tensor, but got list"):
        nn.Parameter([1.0])


def test_a_parameter_shares_the_memory_of_its_data() -> None:
    x = tg.zeros(2)
    p = nn.Parameter(x)
    y = p * 1
    x.add_(1)
    np.testing.assert_array_equal(p.detach().numpy(), [1.0, 1.0])
    np.testing.assert_array_equal(y.detach().numpy(), [0.0, 0.0])
    with tg.no_grad():
        p.mul_(5)
    np.testing.assert_array_equal(x.numpy(), [5.0, 5.0])


def test_copies_and_pickles(net: Net, batch: Any) -> None:
    expected = net(batch)
    expected.sum().backward()
    twin = copy.deepcopy(net)
    loaded = pickle.loads(pickle.dumps(net))
    for other in (twin, loaded):
        np.testing.assert_array_equal(other(batch).detach().numpy(), expected.detach().numpy())
        assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in other.parameters())
        assert not {id(p) for p in other.parameters()} & {id(p) for p in net.parameters()}
        with tg.no_grad():
            other.fc1.weight.zero_()
    np.testing.assert_array_equal(net(batch).detach().numpy(), expected.detach().numpy())
    np.testing.assert_array_equal(twin.fc2.bias.grad.numpy(), net.fc2.bias.grad.numpy())
    module = nn.Module()
    module.mean = nn.Buffer(tg.ones(2), persistent=False)
    module = pickle.loads(pickle.dumps(module))
    assert (list(module.state_dict()), len(list(module.buffers()))) == ([], 1)
    shared = nn.ModuleList([net, net])
    assert len(list(copy.deepcopy(shared).parameters())) == 4


def test_casts(net: Net, batch: Any) -> None:
    net(batch).sum().backward()
    weight = net.fc1.weight
    assert net.float() is net
    assert net.fc1.weight is weight
    assert weight.dtype is weight.grad.dtype is tg.float32
    assert net(batch.float()).dtype is tg.float32
    net.zero_grad()
    net(batch.float()).sum().backward()
    net.to(tg.float64).to("cpu")
    assert {p.dtype for p in net.parameters()} == {tg.float64}
    assert {p.grad.dtype for p in net.parameters()} == {tg.float64}
    loss = net(batch).sum()
    with pytest.raises(
        tg.UnsupportedError, match=r"float32 for a leaf of shape .*float64 from which"
    ):
        net.float()
    loss.backward()


def test_a_state_is_loaded(net: Net) -> None:
    other = Net()
    state = net.state_dict()
    assert isinstance(state, OrderedDict)
    assert all(not x.requires_grad for x in state.values())
    assert repr(other.load_state_dict(state)) == "<All keys matched successfully>"
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    del state["fc1.bias"]
    keys = other.load_state_dict({**state, "x": tg.ones(1)}, strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == (["fc1.bias"], ["x"])
    other.load_state_dict({"fc1.weight": tg.zeros(4, 3)}, strict=False, assign=True)
    assert isinstance(other.fc1.weight, nn.Parameter)
    assert other.fc1.weight.requires_grad


def test_members_change_places() -> None:
    m = nn.Module()
    m.a = 3
    m.a = nn.Parameter(tg.ones(1))
    m.a = None
    assert list(m.named_parameters()) == []
    m.a = nn.Parameter(tg.ones(1))
    del m.a
    m.a = tg.ones(1)
    assert "a" in m.__dict__
    m.b = nn.ReLU()
    m.b = nn.Parameter(tg.ones(1))
    assert list(m.children()) == []
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'c'"):
        m.c  # noqa: B018
    seq = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    assert len(seq[:2]) == 2
    assert seq[-1].out_features == 1
    seq.append(nn.Tanh()).insert(0, nn.Identity())
    del seq[1]
    assert [type(x).__name__ for x in seq] == ["Identity", "ReLU", "Linear", "Tanh"]
    assert list(seq.state_dict()) == ["2.weight", "2.bias"]
    params = nn.ParameterList([tg.ones(2), tg.zeros(3)])
    params[0] = tg.ones(4)
    assert [name for name, _ in params.named_parameters()] == ["0", "1"]
    assert params[0].shape == (4,)


# --------------------------------------------------------------------------- hooks
def calls_of_hooks(library: Any) -> list[Any]:
    """What hooks of a module see, and what their results do."""
    layer, seen = library.nn.Linear(2, 2).to(library.float64), []
    with library.no_grad():
        layer.weight.copy_(library.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.bias.zero_()

    def numbers(x: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(map(numbers, x))
        return None if x is None else np.asarray(x.detach().numpy()).tolist()

    def pre(module: Any, args: Any) -> Any:
        seen.append(("pre", numbers(args)))
        return (args[0] * 2,)

    def post(module: Any, args: Any, kwargs: Any, result: Any) -> Any:
        seen.append(("post", numbers(args), list(kwargs), numbers(result)))
        return result + 1

    def backward_pre(module: Any, gradients: Any) -> Any:
        seen.append(("backward pre", numbers(gradients)))
        return (gradients[0] * 10,)

    def backward(module: Any, inputs: Any, outputs: Any) -> Any:
        seen.append(("backward", numbers(inputs), numbers(outputs)))
        return (inputs[0] + 1,) if inputs and inputs[0] is not None else None

    handles = [
        layer.register_forward_pre_hook(pre),
        layer.register_forward_hook(post, with_kwargs=True),
        layer.register_full_backward_pre_hook(backward_pre),
        layer.register_full_backward_hook(backward),
    ]
    for needs in (True, False):
        x = library.tensor([[1.0, -1.0]], dtype=library.float64, requires_grad=needs)
        layer.zero_grad()
        y = layer(x)
        (y * y).sum().backward()
        seen.append((numbers(y), numbers(x.grad), numbers(layer.weight.grad)))
    for handle in handles:
        handle.remove()
    seen.append(numbers(layer(library.ones(1, 2, dtype=library.float64))))
    return seen


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_hooks_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    assert calls_of_hooks(tg) == calls_of_hooks(torch)


def test_hooks_of_states(net: Net) -> None:
    calls = []
    net.register_state_dict_post_hook(lambda *args: calls.append("saved"))
    net.register_state_dict_pre_hook(lambda *args: calls.append("saving"))
    net.register_load_state_dict_post_hook(lambda module, keys: calls.append("loaded"))
    net.register_load_state_dict_pre_hook(lambda *args: calls.append("loading"))
    net.load_state_dict(net.state_dict())
    assert calls == ["saving", "saved", "loading", "loaded"]


# --------------------------------------------------------------------------- transforms
def test_gradients_of_each_example(net: Net, batch: Any) -> None:
    targets = tg.tensor([0, 1, 1, 0, 1])

    def loss(parameters: Any, x: Any, t: Any) -> Any:
        return F.cross_entropy(functional_call(net, parameters, x[None]), t[None])

    parameters = {k: p.detach() for k, p in net.named_parameters()}
    each = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, batch, targets)
    for i in range(5):
        net.zero_grad()
        F.cross_entropy(net(batch[i : i + 1]), targets[i : i + 1]).backward()
        for name, p in net.named_parameters():
            np.testing.assert_allclose(
                each[name][i].numpy(), p.grad.numpy(), rtol=1e-12, atol=1e-15
            )


def test_ensembles(batch: Any) -> None:
    models = [Net() for _ in range(3)]
    parameters, buffers = stack_module_state(models)
    assert all(p.is_leaf and p.requires_grad for p in parameters.values())
    results = vmap(lambda p, b, x: functional_call(models[0], (p, b), x), in_dims=(0, 0, None))(
        parameters, buffers, batch
    )
    for i, model in enumerate(models):
        np.testing.assert_allclose(
            results[i].detach().numpy(), model(batch).detach().numpy(), rtol=1e-12
        )


def test_functional_call_puts_everything_back(net: Net, batch: Any) -> None:
    before = dict(net.named_parameters())
    new = {k: tg.ones_like(p) for k, p in before.items()}
    assert float(functional_call(net, new, batch).detach().sum()) != float(
        net(batch).detach().sum()
    )
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        functional_call(net, {**new, "fc1.weight": tg.ones(4, 2)}, batch)
    assert all(a is b for a, b in zip(net.parameters(), before.values(), strict=True))
    _, tangent = jvp(lambda p: functional_call(net, p, batch).sum(), (new,), (new,))
    assert tangent.shape == ()
    for tensors, error, words in (
        ({"fc9.weight": tg.ones(1)}, AttributeError, "fc9"),
        ({"fc1.x": tg.ones(1)}, AttributeError, "has no attribute `x`"),
        ({"fc1.bias": 3}, TypeError, "'?fc1.bias'? has to be a Tensor, but is a int"),
        (3, ValueError, "Expected parameter_and_buffer_dicts to be a dict"),
        ((new, new), ValueError, "appeared in multiple dictionaries"),
    ):
        with pytest.raises(error, match=words):
            functional_call(net, tensors, batch)
    with pytest.raises(RuntimeError, match=r"Missing key\(s\): 'fc2.bias'"):
        functional_call(net, {k: v for k, v in new.items() if k != "fc2.bias"}, batch, strict=True)
    with pytest.raises(TypeError, match=r"expected an nn\.Module, but got function"):
        functional_call(lambda x: x, {}, batch)


def test_tied_weights(batch: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    new = {"0.weight": tg.eye(3), "0.bias": tg.zeros(3), "1.bias": tg.zeros(3)}
    np.testing.assert_allclose(
        functional_call(model, new, batch).numpy(), batch.numpy(), rtol=1e-15
    )
    with pytest.raises(ValueError, match="which are tied"):
        functional_call(model, {**new, "1.weight": tg.ones(3, 3)}, batch)
    apart = functional_call(model, {**new, "1.weight": tg.zeros(3, 3)}, batch, tie_weights=False)
    assert float(apart.abs().sum()) == 0


# --------------------------------------------------------------------------- jit
def test_jit_sees_what_changes_in_a_module(net: Net, batch: Any) -> None:
    for function in (tg.jit(net), tg.jit(lambda x: net(x).sum()), tg.compile(net)):
        plain = (lambda x: net(x).sum()) if "lambda" in repr(function) else net

        def same(function: Any = function, plain: Any = plain) -> None:
            for _ in range(3):
                np.testing.assert_allclose(
                    function(batch).detach().numpy(), plain(batch).detach().numpy(), rtol=1e-12
                )

        same()
        net.fc1.weight = nn.Parameter(tg.ones(4, 3))
        same()
        with tg.no_grad():
            net.fc1.weight.mul_(1.5)
        same()
        net.eval()
        same()
        net.train()
        net.scale += 1
        same()
        handle = net.fc2.register_forward_hook(lambda module, args, result: result + 1)
        same()
        handle.remove()
        same()
        net.fc1 = nn.Linear(3, 4, bias=False)
        same()
    assert len(list(function.parameters())) == 3


def test_gradients_under_jit(net: Net, batch: Any) -> None:
    step = tg.jit(tg.value_and_grad(lambda p, x: functional_call(net, p, x).square().mean()))
    parameters = {k: p.detach() for k, p in net.named_parameters()}
    for _ in range(2):
        _, gradients = step(parameters, batch)
    net.zero_grad()
    net(batch).square().mean().backward()
    for name, p in net.named_parameters():
        np.testing.assert_allclose(gradients[name].numpy(), p.grad.numpy(), rtol=1e-12)


def test_jit_refuses_what_differs_from_call_to_call(batch: Any) -> None:
    with pytest.raises(tg.TapeError, match="draws random numbers"):
        tg.jit(nn.Dropout())(batch)
    with pytest.raises(tg.TapeError, match="changes a tensor of its surroundings"):
        tg.jit(nn.BatchNorm1d(3))(batch)


def test_script_and_trace_return_what_they_are_given(net: Net, batch: Any) -> None:
    scripting._say.cache_clear()
    with pytest.warns(UserWarning, match=r"jit.script\(\) returns what it is given"):
        assert tg.jit.script(net) is net
    with pytest.warns(UserWarning, match=r"jit.trace\(\) returns what it is given"):
        assert tg.jit.trace(net, batch) is net

    @tg.jit.script
    def double(x: Any) -> Any:
        return x if tg.jit.is_scripting() else 2 * x

    @tg.jit.ignore
    def triple(x: Any) -> Any:
        return 3 * x

    assert float(double(tg.tensor(2.0)) + triple(tg.tensor(1.0))) == 7


# --------------------------------------------------------------------------- init, utils
def test_first_values_have_their_distributions() -> None:
    tg.manual_seed(3)
    layer = nn.Linear(400, 300)
    bound = 1 / 20
    for p in layer.parameters():
        assert float(p.detach().abs().max()) <= bound
        assert abs(float(p.detach().std()) - bound / 3**0.5) < 2e-3
    w = tg.empty(300, 200)
    for name, std in (
        ("xavier_uniform_", (2 / 500) ** 0.5), ("xavier_normal_", (2 / 500) ** 0.5), ("normal_", 1.0),
        ("kaiming_uniform_", (2 / 200) ** 0.5), ("kaiming_normal_", (2 / 200) ** 0.5), ("uniform_", 12**-0.5),
    ):  # fmt: skip
        assert getattr(nn.init, name)(w) is w
        assert abs(float(w.std()) / std - 1) < 0.02
    q = nn.init.orthogonal_(tg.empty(3, 5), gain=2.0)
    np.testing.assert_allclose((q @ q.T).numpy(), 4 * np.eye(3), atol=1e-12)
    t = nn.init.trunc_normal_(tg.empty(100, 100), 0.0, 1.0, -1.0, 1.0)
    assert float(t.abs().max()) <= 1
    assert abs(float(t.std()) - 0.54) < 0.02
    np.testing.assert_array_equal(nn.init.eye_(tg.empty(2, 3)).numpy(), np.eye(2, 3))
    x = nn.init.dirac_(tg.empty(2, 2, 3))
    np.testing.assert_array_equal(
        F.conv1d(w[None, :2, :9], x, padding=1)[0].numpy(), w[:2, :9].numpy()
    )
    torch = pytest.importorskip("torch")
    for name in ("linear", "tanh", "relu", "leaky_relu", "selu", "sigmoid"):
        assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)


@pytest.mark.parametrize("order", [2.0, 1.0, float("inf")])
def test_clipping(order: float) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for library in (tg, torch):
        ps = [library.nn.Parameter(library.zeros(3)), library.nn.Parameter(library.zeros(2, 2))]
        ps[0].grad = library.tensor([1.0, -2.0, 3.0]).to(ps[0].dtype)
        total = library.nn.utils.clip_grad_norm_(
            [*ps, library.nn.Parameter(library.zeros(1))], 1.5, order
        )
        norm = ps[0].grad.tolist()
        library.nn.utils.clip_grad_value_(ps, 0.5)
        results.append([float(total), *norm, *ps[0].grad.tolist()])
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_parameters_as_a_vector(net: Net) -> None:
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (26,)
    nn.utils.vector_to_parameters(tg.arange(26.0), net.parameters())
    np.testing.assert_array_equal(
        nn.utils.parameters_to_vector(net.parameters()).detach().numpy(), np.arange(26.0)
    )
    with pytest.raises(RuntimeError, match="the parameters have 26 elements, but vec has 25"):
        nn.utils.vector_to_parameters(tg.arange(25.0), net.parameters())


def test_packages_under_torchs_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "other", tg)
    space: dict[str, Any] = {}
    exec(
        "import other.nn as nn, other.nn.functional as F\nfrom other.nn import Linear\n"
        "from other.nn.utils import clip_grad_norm_\nfrom other.nn.modules import Module\n"
        "from other.nn.parameter import Parameter\nimport other.nn.init",
        space,
    )
    assert space["nn"] is nn
    assert space["F"] is F
    assert space["Linear"] is nn.Linear
    assert tg.dropout is F.dropout
    for name in [n for n in sys.modules if n.startswith("other.")]:
        del sys.modules[name]
