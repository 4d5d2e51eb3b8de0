"""LightConv and DynamicConv: single layers of the official code, padding, a causal decoder, what is shorter than a kernel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from cases import SPECS

import metablock
from metablock.language.parser import expression
from oracles import BAR, compare, golden, golden_inputs, recipe, relative_error

SPEC = SPECS["lightconv_dynamicconv"]
SMALL = ["d = 16", "wide = 32", "heads = 2"]
ENCODER = "x -> memory = x >> 1 * encoder(ones(1, 1)) return memory"
DECODER = "x, m -> y = x >> 1 * decoder(m, ones(24, 1)) return y"


def layer(model: str, variant: str, *edits: str, **options: object) -> torch.nn.Module:
    """One layer, of sequences of channels."""
    spec = metablock.resolved(SPEC, variant=variant, edits=[f"model = {model}", *edits])
    names = model.partition(" ->")[0].split(", ")
    spec = spec.with_(inputs={name: expression("series(512, 24)", "<text>") for name in names})
    return metablock.build(spec, dtype=torch.float64, **options).eval()


@pytest.mark.parametrize(
    ("recording", "model", "variant", "edits"),
    [
        ("enc_layer_lightweight_glu_k7", ENCODER, "lightweight_wmt_en_de", ["k = [7]"]),
        ("enc_layer_dynamic_glu_k7", ENCODER, "dynamic_wmt_en_de", ["k = [7]"]),
        ("enc_layer_dynamic_noglu_k31", ENCODER, "dynamic_wmt_en_de", ["k = [31]", "expand = linear(d)"]),
        ("dec_layer_dynamic_glu_k15", DECODER, "dynamic_wmt_en_de", ["k = [15]"]),
    ],
)
def test_layers_of_the_official_code(recording: str, model: str, variant: str, edits: list[str]) -> None:
    """Recorded layers, through the rules for the weights of the whole network. Their tensors have the time first."""
    recorded = golden(f"layers/lightconv_dynamicconv__{recording}.json")
    of = "encoder" if model is ENCODER else "decoder"
    state = {f"{of}.layers.0.{key}": value for key, value in recipe(recorded["keys"], recorded["gain"]).items()}
    net = layer(model, variant, *edits, weights=state)
    assert sum(p.numel() for p in net.parameters()) == recorded["params"]
    recorded["outputs"] = recorded["outputs"][:1]  # the weights of the decoder's attention are another
    with torch.no_grad():
        output = net(*[x.transpose(0, 1) for x in golden_inputs(recorded) if x is not None])
    assert compare(output.transpose(0, 1), recorded) < BAR["float64"]


@pytest.mark.parametrize("variant", ["lightweight_iwslt_de_en", "dynamic_wmt_en_de"])
def test_padding_and_the_future_change_nothing(variant: str) -> None:
    net = metablock.build(SPEC, variant=variant, edits=SMALL, dtype=torch.float64).eval()
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randint(2, 32768, (2, n), generator=generator) for n in (9, 7))
    padded = F.pad(source, (0, 5), value=1)
    other = torch.cat([target[:, :4], target[:, 4:].flip(1)], 1)
    with torch.no_grad():
        logits = net(source, target)
        torch.testing.assert_close(net(padded, target), logits)
        torch.testing.assert_close(net(source, other)[:, :4], logits[:, :4])
        assert relative_error(net(source, other)[:, 4:], logits[:, 4:]) > 1e-3
        assert relative_error(net(source.flip(1), target)[:, :1], logits[:, :1]) > 1e-3


def test_initial_weights() -> None:
    """fairseq's: embeddings by their width, Xavier's uniform numbers for each matrix, the kernels' logits as (heads, 1, k)."""
    net = metablock.build(SPEC, variant="lightweight_wmt_en_de")
    table, state = net.get_submodule("shared.table").weight, net.state_dict()
    assert table[2:].std().item() == pytest.approx(512**-0.5, rel=0.01)
    assert not table[1].any()
    bounds = {
        "memory.encoders.3.post1.a.taps.attention.logits.weight": (6 / (31 + 8 * 31)) ** 0.5,
        "memory.encoders.3.post2.a.linear1.weight": (6 / (512 + 2048)) ** 0.5,
        "y.decoders.0.post2.a.q.weight": (6 / 1024 / 2) ** 0.5,
        "y.decoders.0.post2.a.kv.weight": (6 / 1024 / 2) ** 0.5,
        "y.decoders.0.post2.a.proj.weight": (6 / 1024) ** 0.5,
        "y.decoders.0.post2.a.q.bias": 512**-0.5,
    }
    for name, bound in bounds.items():
        assert bound * 0.95 < state[name].abs().max().item() <= bound, name
    assert not state["memory.encoders.3.post2.a.linear1.bias"].any()
