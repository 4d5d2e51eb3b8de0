"""Routing against its formula, with experts that are run one sample at a time; noise, load, counts, and what is refused."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.backend.costs import macs
from metablock.errors import MetablockError, SpecError
from metablock.language.load import load_text
from metablock.operators.route import Mixture, NoisyGates
from oracles import randomised_state

pytestmark = pytest.mark.usefixtures("float64")
EXPERTS = "[linear(4 * c) >> gelu >> linear(c), dw(3), id, linear(c)]"


def build(model: str, *, size: str = "image(6, 5, 4)", training: bool = False) -> nn.Module:
    module = metablock.build(load_text(f"name: tiny\ninput: {size}\nmodel: {model}\n"), dtype=torch.float64)
    module.load_state_dict(randomised_state(module))
    return module.train(training)


def weights(logits: Tensor, top: int) -> Tensor:
    """The softmax over the largest logits of each sample, one by one."""
    logits = logits.detach()
    result = torch.zeros_like(logits)
    for row, values in zip(result, logits, strict=True):
        chosen = sorted(range(len(values)), key=lambda e: -values[e].item())[:top]
        row[chosen] = values[chosen].softmax(0)
    return result


@pytest.mark.parametrize("merge", ["sum", "logsumexp"])
@pytest.mark.parametrize("top", [1, 2, 4])
def test_the_formula(top: int, merge: str) -> None:
    """Each sample is computed by its chosen experts alone, as sparse code does."""
    model = build(f'route({top}, {EXPERTS}, merge="{merge}", load=true)')
    x = torch.randn(7, 6, 5, 4)
    y, gates, load = model(x)
    gate, experts = model.route.gate, model.route.experts
    expected = weights(gate(x.mean((2, 3))), top)
    torch.testing.assert_close(gates, expected)
    assert torch.equal(load, (expected > 0).double())

    def expert(e: int, sample: Tensor) -> Tensor:
        last = sample.movedim(1, -1)
        if e == 0:
            return experts["0"].linear2(F.gelu(experts["0"].linear1(last)))
        return experts["1"](sample).movedim(1, -1) if e == 1 else last if e == 2 else experts["3"](last)

    for i in range(len(x)):
        parts = [(expected[i, e], expert(e, x[i : i + 1])) for e in range(4) if expected[i, e] > 0]
        function = (lambda y: y) if merge == "sum" else torch.exp
        total = sum(g * function(part) for g, part in parts)
        want = total if merge == "sum" else total.log()
        got = y[i : i + 1] if y.shape[1:] == want.shape[1:] else y[i : i + 1].movedim(1, -1)
        torch.testing.assert_close(got, want)


def test_gradients_are_those_of_the_chosen() -> None:
    """An expert that nobody chose gets zeros, not nothing and not NaN; the gate learns from the chosen."""
    model = build(f'route(2, {EXPERTS}, merge="logsumexp") >> global_pool')
    gate = model.route.gate
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.copy_(torch.tensor([3.0, 2.0, 1.0, 0.0]))
    model(torch.randn(3, 6, 5, 4)).square().sum().backward()
    assert not model.route.experts["3"].weight.grad.any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert gate.bias.grad[:2].all()
    assert not gate.bias.grad[2:].any()


def test_what_is_not_chosen_may_overflow() -> None:
    gates = torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]], requires_grad=True)
    outputs = [torch.tensor([[700.0], [torch.inf]]), torch.tensor([[torch.nan], [-800.0]]), torch.tensor([[900.0], [torch.inf]])]
    for merge, first in (("sum", 800.0), ("logsumexp", 900 + torch.tensor(0.5).log().item())):
        y = Mixture(merge=merge)(gates, *outputs)
        torch.testing.assert_close(y, torch.tensor([[first], [-800.0]]))


def test_noise_and_load() -> None:
    """Eq. 4, 5 and 8 and 9 of Shazeer et al. 2017: by hand, an expert at a time."""
    torch.manual_seed(0)
    module = NoisyGates(experts=5, width=3, top=2, noise=0.125)
    logits, seen = torch.randn(4, 5), torch.randn(4, 3)
    torch.manual_seed(1)
    gates, load = module.train()(logits, seen)
    torch.manual_seed(1)
    deviation = F.softplus(module.deviation(seen)) + 0.125
    noisy = logits + torch.randn(4, 5) * deviation
    torch.testing.assert_close(gates, weights(noisy, 2))
    normal = torch.distributions.Normal(0.0, 1.0)
    for i in range(4):
        for e in range(5):
            others = torch.cat([noisy[i, :e], noisy[i, e + 1 :]]).sort(descending=True).values
            torch.testing.assert_close(load[i, e], normal.cdf((logits[i, e] - others[1]) / deviation[i, e]))
    load.sum().backward()
    assert module.deviation.weight.grad.any()
    still, chosen = module.eval()(logits, seen)
    torch.testing.assert_close(still, weights(logits, 2))
    assert torch.equal(chosen, (still > 0).double())


def test_all_are_chosen() -> None:
    module = NoisyGates(experts=3, width=2, top=3, noise=0.0).train()
    gates, load = module(torch.randn(4, 3), torch.randn(4, 2))
    torch.testing.assert_close(gates.sum(1), torch.ones(4))
    assert torch.equal(load, torch.ones(4, 3))


def test_the_router_s_parts() -> None:
    """What it sees may be any vector or token; the gate is replaced; noise has a map of its own; all is named."""
    model = build("route(1, [dw(3), id], by=adaptive_avg_pool(1) >> pw(3), gate=linear(2, bias=false), noise=0.01) >> id")
    names = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert names == {
        "route.by.pw.weight": (3, 6, 1, 1),
        "route.by.pw.bias": (3,),
        "route.gate.weight": (2, 3),
        "route.noise.deviation.weight": (2, 3),
        "route.noise.deviation.bias": (2,),
        "route.experts.0.weight": (6, 1, 3, 3),
        "route.experts.0.bias": (6,),
    }
    assert model(torch.randn(2, 6, 5, 4)).shape == (2, 6, 5, 4)


def test_in_windows_and_with_wires() -> None:
    """Each window has experts of its own; a wire from outside is repeated for it."""
    model = build("x -> z = x >> global_pool return x >> windows([5, 2]) >> route(1, [linear(c) * z, id]) >> merge")
    x = torch.randn(3, 6, 5, 4)
    y = model(x)
    z = x.mean((2, 3))
    (route,) = [part for part in model.modules() if hasattr(part, "experts")]
    (linear,) = [part for name, part in route.experts.named_modules() if isinstance(part, nn.Linear)]
    for i in range(3):
        for left in (0, 2):
            part = x[i, :, :, left : left + 2]
            chosen = route.gate(part.mean((1, 2))).argmax().item()
            want = part.movedim(0, -1)
            want = linear(want) * z[i] if chosen == 0 else want
            torch.testing.assert_close(y[i, :, left : left + 2], want)


@pytest.mark.parametrize("top", [1, 2, 3])
def test_counts_are_the_mean_of_all_choices(top: int) -> None:
    experts = "[linear(4 * c) >> linear(c), dw(3), id, (x -> x >> matmul(x >> transpose >> matmul(x)))]"
    model = metablock.build(
        load_text(f"name: t\ninput: image(6, 5, 4)\nmodel: route({top}, {experts}) >> linear(2)"), device="meta"
    )
    counted = macs(model, torch.empty(1, 6, 5, 4, device="meta"))
    each = [2 * 20 * 6 * 24, 20 * 6 * 9, 0, 2 * 20 * 6 * 6]
    choices = [sum(each[e] for e in chosen) for chosen in combinations(range(4), top)]
    assert counted[""] == 6 * 4 + 20 * 6 * 2 + int(sum(choices) / len(choices))
    assert counted["route.experts.0.linear1"] == 20 * 6 * 24 * top // 4
    # Whatever is cached, the same module outside of a route counts in full.
    alone = metablock.build(load_text("name: t\ninput: image(6, 5, 4)\nmodel: linear(4 * c) >> linear(c)"), device="meta")
    assert macs(alone, torch.empty(1, 6, 5, 4, device="meta"))[""] == each[0]


def test_compiles_exports_and_is_traced() -> None:
    model = build(f'route(2, {EXPERTS}, noise=0.01, merge="logsumexp") >> global_pool >> linear(3)')
    x = torch.randn(2, 6, 5, 4)
    y = model(x)
    torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x), y)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), y)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), y)


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        ("route(2, dw(3))", "`experts` is a list of modules", "route(2, [mlp(4), dw(3), id])"),
        ("route(3, [dw(3), id])", "3 of 2 experts", "between 1 and 2"),
        ("route(0, [dw(3), id])", "0 of 2 experts", "between 1 and 2"),
        ("route(1, [])", "`experts` is a list of modules", "route(2,"),
        ("route(1, [dw(3), none])", "an expert is absent", "`id`"),
        ("route(1, [dw(3), id], by=id)", "`by` gives map 6 x 5x4", "`global_pool`"),
        ("route(1, [dw(3), id], gate=linear(3))", "`gate` gives vector of 3 for 2 experts", "`linear(2)`"),
        ("route(1, [dw(3), id], noise=-1)", "`noise` of 'route' is -1", "from 0"),
        ('route(1, [dw(3), id], merge="mean")', 'unknown merge "mean"', '"logsumexp"'),
        ("route(1, [dw(3), linear(5)])", "experts return map 6 x 5x4 and tokens 5x4 x 5", "one shape"),
        ("route(1, [global_pool, id])", "experts return vector of 6 and map 6 x 5x4", "one shape"),
        ("route(1, [avg_pool(2, stride=2), id])", "experts return map 6 x 2x2 and map 6 x 5x4", "one shape"),
    ],
)
def test_what_is_refused(call: str, message: str, hint: str) -> None:
    with pytest.raises((SpecError, MetablockError)) as caught:
        build(call)
    assert message in str(caught.value)
    assert hint in str(caught.value)
