"""What the tests over the whole catalogue run on."""

from __future__ import annotations

from typing import Any

import metablock
from metablock.backend.block import Block
from metablock.catalogue.lookup import catalogue
from metablock.language.printer import show

SPECS = catalogue()
# Files of networks for images.
IMAGES = {name for name, spec in SPECS.items() if all(show(node).startswith("image(") for node in spec.inputs.values())}
VARIANTS = [(name, variant) for name, spec in SPECS.items() for variant in spec.variants]
# Files that hold several families run one variant of each; every other file its smallest.
FAMILIES = {
    "agent_attention": ["agent_deit_t", "agent_pvt_t", "agent_swin_t", "agent_cswin_t"],
    "beit": ["official_ft_base"],
    "cf_vit": ["cf_deit_small_7_split"],
    "coatnet": ["coatnet_0_224"],
    "cpvt": ["ti", "pcpvt_small_v0"],
    "deformable_detr": ["single_scale", "multi_scale_box_refine_two_stage"],
    "dat": ["tiny", "pp_tiny"],
    "fastvit": ["fastvit_t8"],
    "dfn": ["steerable", "highway"],
    "focal_transformer": ["tiny", "fast_tiny"],
    "deit": ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"],
    "dynamic_conv": ["dy_resnet10", "dy_mobilenet_v2_0_35"],
    "efficientnet": ["efficientnet_b0"],
    "igpt": ["igpt_s_clf"],
    "mae": ["ft_vit_base_patch16"],
    "lightconv_dynamicconv": ["lightweight_wmt_en_de", "dynamic_wmt_en_de"],
    "maxvit": ["maxvit_tiny_tf_224"],
    "metaformer": ["poolformer_s12", "randformer_s12", "convformer_s18", "caformer_s18"],
    "mobilenet_v2": ["mobilenetv2_035"],
    "mobile_former": ["26m"],
    "moco_v3": ["backbone_vit_small", "backbone_vit_conv_small"],
    "shufflenet_v1": ["g3_0_5x"],
    "shufflenet_v2": ["x0_5", "megvii_0_5x"],
    "parsenet": ["largefov_early", "fcn32s_early"],
    "resnet": ["resnet18", "resnet50"],
    "t2t_vit": ["t2t_vit_7"],
    "tnt": ["tnt_s_patch16_224"],
    "twins": ["svt_small", "pcpvt_small"],
    "vit": ["vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224"],
    "vit_adapter": ["det_deit_tiny"],
}

# A network whose weights have other names elsewhere.
RULES = """
name: small
input: image(3, 8)
let: {wide: linear(4)}
stem: conv(6, 1) >> wide
stages: {body: relu}
head: global_pool >> linear(classes)
classes: 5
weights:
  theirs:
    stem.conv.*: first.*
    stem.wide.weight: a.weight ++ b.weight
    stem.wide.bias: ab
    head.linear.*: last.* | pointwise
  half:
    stem.conv.*: first.*
    stem.wide.*: x.* | chunk(1, 2)
    head.linear.*: last.*
  none:
    stem.conv.*: first.*
"""


def smallest(name: str) -> str:
    facts = SPECS[name].facts
    return min(SPECS[name].variants, key=lambda variant: int(facts.of(variant)["params"]))


SMALLEST = [(name, variant) for name in SPECS for variant in FAMILIES.get(name) or [smallest(name)]]
# For what takes long: one of each file, and of those that hold two papers' networks two.
ONE = [pair for i, pair in enumerate(SMALLEST) if pair[0] != SMALLEST[i - 1][0] or pair[1] in ("caformer_s18", "pcpvt_small_v0")]

# Networks of sequences: no maps, and sizes of their own.
SEQUENCES = {"conformer_speech": "80x64", "igpt": "512x16", "lightconv_dynamicconv": None}
PICTURES = [pair for pair in SMALLEST if pair[0] in IMAGES - {"dfn"}]  # `shrunk` says which fit one size

# What makes a network quick to run, by its variant or its file. Where all blocks are alike two of them stay: what is made again
# for each would be seen.
SMALL = {
    "agent_cswin_t": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "agent_deit_t": ["depth = 2"],
    "agent_pvt_t": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 80, 128]"],
    "agent_swin_t": ["depth = [2, 2, 2, 1]", "dim = [24, 48, 96, 192]"],
    "beit": ["depth = 2", "dim = 64", "heads = 2"],
    "biformer": ["depth = [1, 1, 2, 1]", "dim = [32, 64, 96, 128]", "regions = 4"],
    "ceit": ["depth = 2", "d = 64"],
    "cf_vit": ["d = 48", "heads = 3", "depth = 5"],
    "cloformer": ["depth = [1, 1, 2, 1]", "width = [16, 32, 64, 128]"],
    "cmt": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "coatnet": ["depth = [1, 1, 2, 1]", "dim = [32, 64, 96, 128]"],
    "conformer_cnn_vit": ["dim = [16, 32, 64]", "D = 32", "heads = 4"],
    "conformer_speech": ["depth = 2", "dim = 32", "rate = 0"],
    "conv2former": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "convnext": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "cpvt": ["depth = 3", "dim = 64"],
    "crossvit": ["d = [24, 48]", "heads = 3", "depth = [1, 1, 1]"],
    "cvt": ["depth = [1, 2, 2]", "dim = [8, 16, 32]", "heads = [1, 2, 4]"],
    "ddf": ["depth = [1, 2, 1, 1]", "dim = [16, 32, 64, 128]"],
    "dat": ["depth = [2, 1, 2, 2]", "dim = [64, 64, 128, 128]", "size = 3"],
    "deit": ["depth = 2", "dim = 64"],
    "deformable_detr": ["depth = [1, 2, 1, 1]", "dim = [16, 32, 32, 32]", "d = 32", "wide = 64", "queries = 10", "deep = 2"],
    "detr": ["depth = [1, 2, 1, 1]", "dim = [16, 32, 32, 32]", "d = 32", "wide = 64", "queries = 10", "deep = 2"],
    "dilateformer": ["depth = [1, 1, 2, 1]", "dim = [24, 48, 96, 192]"],
    "dy_mobilenet_v2_0_35": ["depth = [1, 2, 1, 1, 1, 2, 1]"],
    "dy_resnet10": ["dim = [16, 32, 64, 128]"],
    "edgevit": ["depth = [1, 1, 2, 1]", "dim = [12, 24, 48, 96]", "head_dim = 12"],
    "efficientformer": ["depth = [1, 1, 2, 1, 1]", "dim = [16, 32, 64, 96, 96]"],
    "efficientnet": ["width = 0.25", "repeat = [1, 2, 1, 1, 2, 1, 1]"],
    "efficientvit_msra": ["depth = [1, 1, 2]", "dim = [32, 48, 64]"],
    "emo": ["depth = [1, 1, 2, 2]", "dim = [16, 24, 40, 42]"],
    "fastvit": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "fat": ["depth = [1, 1, 2, 1]", "width = [16, 32, 64, 128]"],
    "focal_transformer": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]", "heads = [1, 1, 2, 4]"],
    "gcvit": ["depth = [1, 2, 2, 2]", "dim = [32, 64, 96, 128]"],
    "glmix": ["depth = [1, 1, 2, 1]", "dim = [32, 64, 96, 128]"],
    "hrnet": ["W = 8", "blocks = 1"],
    "igpt": ["depth = 2", "dim = 64", "heads = 2"],
    "iformer_inception": ["depth = [1, 1, 2, 1]", "dim = [48, 96, 128, 160]", "heads = [1, 2, 2 if index < 1 else 3, 4]"],
    "inception_next": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "lightconv_dynamicconv": ["d = 16", "wide = 32", "heads = 2", "k = [3, 31, 7]", "weight_rate = 0"],
    "litv2_hilo": ["depth = [1, 1, 2, 1]", "dim = [24, 48, 96, 192]"],
    "mae": ["depth = 2", "dim = 64", "heads = 2"],
    "maxvit": ["depth = [1, 2, 1, 1]", "dim = [32, 64, 96, 128]"],
    "metaformer": ["depth = [1, 1, 2, 2]", "dim = [32, 64, 96, 128]"],
    "mlp_mixer": ["depth = 2", "dim = 64"],
    "mobilenet_v1": ["width = 0.25", "depth = [1, 2, 2, 2, 2]"],
    "mobilenet_v2": ["depth = [1, 2, 2, 2, 1, 2, 1]"],
    "mobilenet_v3": ["depth = [1, 2, 2, 2, 2]"],
    "pathformer": ["N = 3", "sizes = [[48, 32, 24, 16], [24, 16, 12, 32], [32, 16, 24, 12]]"],
    "moco_v3": ["depth = 2", "dim = 96"],
    "msg_transformer": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 64]", "heads = [1, 1, 2, 2]"],
    "pcpvt_small_v0": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 80, 128]"],
    "parsenet": ["dim = [8, 16, 16, 32, 32]", "wide = 32"],
    "pvt": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 80, 128]"],
    "repnext": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "repvgg": ["depth = [1, 1, 1, 2, 1]"],
    "resnest": ["depth = [1, 2, 1, 1]", "dim = [16, 32, 64, 128]"],
    "resnet": ["depth = [1, 2, 1, 1]"],
    "segnext": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "shufflenet_v1": ["depth = [2, 3, 2]"],
    "shufflenet_v2": ["depth = [2, 3, 2]"],
    "scopevit": ["depth = [1, 1, 2, 1]", "dim = [8, 16, 32, 64]"],
    "shuffle_transformer": ["depth = [1, 1, 2, 1]", "dim = [32, 64, 96, 128]"],
    "shunted": ["depth = [1, 1, 1, 1]", "dim = [8, 16, 32, 64]", "ratio = 2"],
    "smt": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "stvit": ["depths = [1, 1, 6, 1]", "dim = [24, 48, 96, 192]"],
    "swin": ["depth = [2, 1, 2, 1]", "dim = [24, 48, 96, 192]"],
    "t2t_vit": ["depth = 2", "dim = 64", "heads = 2"],
    "tnt": ["depth = 2"],
    "transnext": ["depth = [1, 1, 2, 1]"],
    "twins": ["depth = [2, 1, 2, 2]", "dim = [16, 32, 80, 128]"],
    "unireplknet": ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"],
    "vit": ["depth = 2"],
    "vit_adapter": ["D = 48", "heads = 3", "deform_heads = 6", "depth = [2, 1, 1, 1]", "n = [1, 1, 1, 2]"],
    "volo": ["depth = [2, 1, 1, 1]", "dim = [16, 32, 32, 32]", "heads = [2, 4, 4, 4]", "width = 8"],
    "xception": ["depth = [1, 1, 1, 2, 1]", "dim = [16, 32, 48, 48, 64]"],
}

# What fits one size alone.
ONE_SIZE = {"dfn", "focal_transformer", "msg_transformer", "stvit"}


def shrunk(name: str, variant: str) -> dict[str, Any]:
    """Options of ``metablock.build`` that make a network of the catalogue quick to run; some fit one size, or have no image."""
    size = SEQUENCES.get(name, "3x64x64" if name in IMAGES - ONE_SIZE else None)
    return {"edits": list(SMALL.get(variant, SMALL.get(name, []))), "input": size}


def small(name: str, variant: str, **options: Any) -> Block:
    """The variant made quick to run, with drop-path on and few classes."""
    sizes = shrunk(name, variant)
    sizes["edits"] += ["drop = ramp(0.2)"] if "drop" in SPECS[name].columns else []
    return metablock.build(SPECS[name], variant=variant, classes=7, **sizes, **options)
