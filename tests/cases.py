"""What the tests over the whole catalogue run on."""

from __future__ import annotations

from metablock.catalogue import catalogue

SPECS = catalogue()
VARIANTS = [(name, variant) for name, spec in SPECS.items() for variant in spec.variants]
# Files that hold several families run one variant of each; every other file its smallest.
FAMILIES = {
    "agent_attention": ["agent_deit_t", "agent_pvt_t", "agent_swin_t", "agent_cswin_t"],
    "deit": ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"],
    "dynamic_conv": ["dy_mobilenet_v2_0_35", "dy_resnet10"],
    "metaformer": ["poolformer_s12", "poolformerv2_s12", "identityformer_s12", "randformer_s12", "convformer_s18", "caformer_s18"],
    "mobilenet_v2": ["mobilenetv2_035"],
    "vit": ["vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224"],
}


def _smallest(name: str) -> str:
    facts = SPECS[name].facts
    return min(SPECS[name].variants, key=lambda variant: int(facts.of(variant)["params"]))


SMALLEST = [(name, variant) for name in SPECS for variant in FAMILIES.get(name) or [_smallest(name)]]
