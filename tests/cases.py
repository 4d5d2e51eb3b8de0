"""What the tests over the whole catalogue run on."""

from __future__ import annotations

from typing import Any

from metablock.catalogue import catalogue

SPECS = catalogue()
VARIANTS = [(name, variant) for name, spec in SPECS.items() for variant in spec.variants]
# Files that hold several families run one variant of each; every other file its smallest.
FAMILIES = {
    "agent_attention": ["agent_deit_t", "agent_pvt_t", "agent_swin_t", "agent_cswin_t"],
    "beit": ["official_ft_base"],
    "cf_vit": ["cf_deit_small_7_split"],
    "coatnet": ["coatnet_0_224"],
    "cpvt": ["ti", "pcpvt_small_v0"],
    "fastvit": ["fastvit_t8"],
    "deit": ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"],
    "dynamic_conv": ["dy_mobilenet_v2_0_35", "dy_resnet10"],
    "efficientnet": ["efficientnet_b0"],
    "maxvit": ["maxvit_tiny_tf_224"],
    "metaformer": ["poolformer_s12", "randformer_s12", "convformer_s18", "caformer_s18"],
    "mobilenet_v2": ["mobilenetv2_035"],
    "mobile_former": ["26m"],
    "shufflenet_v1": ["g3_0_5x"],
    "shufflenet_v2": ["x0_5", "megvii_0_5x"],
    "resnet": ["resnet18", "resnet50"],
    "t2t_vit": ["t2t_vit_7"],
    "tnt": ["tnt_s_patch16_224"],
    "twins": ["pcpvt_small", "svt_small"],
    "vit": ["vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224"],
    "vit_adapter": ["det_deit_tiny"],
}


def _smallest(name: str) -> str:
    facts = SPECS[name].facts
    return min(SPECS[name].variants, key=lambda variant: int(facts.of(variant)["params"]))


SMALLEST = [(name, variant) for name in SPECS for variant in FAMILIES.get(name) or [_smallest(name)]]

# What makes a network quick to run, where a small input does not do it or is not taken (STViT fits one size alone).
SMALL = {
    "biformer": ["depth = [1, 1, 2, 1]", "dim = [32, 64, 96, 128]", "regions = 4"],
    "beit": ["depth = 2", "dim = 64", "heads = 2"],
    "cf_vit": ["d = 48", "heads = 3", "depth = 5"],
    "cmt": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "coatnet": ["depth = [1, 1, 2, 1]", "dim = [32, 64, 96, 128]"],
    "conformer_cnn_vit": ["dim = [16, 32, 64]", "D = 32", "heads = 4"],
    "conv2former": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "crossvit": ["d = [24, 48]", "heads = 3", "depth = [1, 1, 1]"],
    "cvt": ["depth = [1, 2, 2]", "dim = [8, 16, 32]", "heads = [1, 2, 4]"],
    "efficientformer": ["depth = [1, 1, 2, 1, 1]", "dim = [16, 32, 64, 96, 96]"],
    "efficientnet": ["width = 0.25", "repeat = [1, 2, 1, 1, 2, 1, 1]"],
    "gcvit": ["depth = [1, 2, 2, 2]", "dim = [32, 64, 96, 128]"],
    "efficientvit_msra": ["depth = [1, 1, 2]", "dim = [32, 48, 64]"],
    "fastvit": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "hrnet": ["W = 8", "blocks = 1"],
    "iformer_inception": ["depth = [1, 1, 2, 1]", "dim = [48, 96, 128, 160]", "heads = [1, 2, 2 if index < 1 else 3, 4]"],
    "maxvit": ["depth = [1, 2, 1, 1]", "dim = [32, 64, 96, 128]"],
    "mobilenet_v1": ["width = 0.25", "depth = [1, 2, 2, 2, 2]"],
    "mobilenet_v3": ["depth = [1, 2, 2, 2, 2]"],
    "inception_next": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "resnest": ["depth = [1, 2, 1, 1]", "dim = [16, 32, 64, 128]"],
    "resnet": ["depth = [1, 2, 1, 1]"],
    "shufflenet_v1": ["depth = [2, 3, 2]"],
    "shufflenet_v2": ["depth = [2, 3, 2]"],
    "shunted": ["depth = [1, 1, 1, 1]", "dim = [8, 16, 32, 64]", "ratio = 2"],
    "smt": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "stvit": ["depths = [1, 1, 6, 1]", "dim = [24, 48, 96, 192]"],
    "t2t_vit": ["depth = 2", "dim = 64", "heads = 2"],
    "transnext": ["depth = [1, 1, 2, 1]"],
    "twins": ["depth = [2, 1, 2, 2]", "dim = [16, 32, 80, 128]"],
    "vit_adapter": ["D = 48", "heads = 3", "deform_heads = 6", "depth = [2, 1, 1, 1]", "n = [1, 1, 1, 2]"],
    "volo": ["depth = [2, 1, 1, 1]", "dim = [16, 32, 32, 32]", "heads = [2, 4, 4, 4]", "width = 8"],
    "xception": ["depth = [1, 1, 1, 2, 1]", "dim = [16, 32, 48, 48, 64]"],
}


def shrunk(name: str) -> dict[str, Any]:
    """Options of ``metablock.build`` that make a network of the catalogue quick to run."""
    return {"edits": list(SMALL.get(name, [])), "input": None if name == "stvit" else "3x64x64"}
