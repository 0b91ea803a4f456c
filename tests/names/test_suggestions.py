"""Suggestions for unknown names of layers: the same mechanism, which builds, or nothing."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from torch import nn
from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.graph import block_of, layers_in
from yolo_attn.host.blocks import count_inside, hosting_blocks, module_hint
from yolo_attn.host.parser import build_rows, name_problem
from yolo_attn.names.spellings import OPTIONS, OTHER_MECHANISMS, SPELLINGS
from yolo_attn.names.suggestions import (
    fold,
    is_other_mechanism,
    option_hint,
    suggest_layer,
    suggest_module,
    suggest_word,
)
from yolo_attn.registry import get_layer, is_layer, layer_names, list_layers

NONE = ""
GIVEN = {
    # the block's attention must not be lost
    **{"C3k2_SE": "C3k2+SE", "C2PSA_CBAM": "C2PSA+CBAM", "C2f_CBAM": "C2f+CBAM", "C3_CA": "C3+CA"},
    **{"C3k2-EMA": "C3k2+EMA"},
    **{"C2f_EMA_attention": "C2f+EMA", "C3SE": "C3+SE", "C3CBAM": "C3+CBAM", "C3ECA": "C3+ECA"},
    **{"C2fCBAM": "C2f+CBAM"},
    **{"SE_C3k2": "C3k2+SE", "CBAMC2f": "C2f+CBAM", "SEC3": "C3+SE", "CBAM_C3": "C3+CBAM"},
    **{"CBAM_A2C2f": "A2C2f+CBAM", "C2f_MSDA": "C2f+MSDA", "C3k2_SHSA": "C3k2+SHSA", "C2fMLLABlock": "C2f+MLLA"},
    **{"C2f_SimAM": "C2f+SimAM", "C2f_simam_module": "C2f+SimAM", "C3k2_MLCA": "C3k2+MLCA", "C2f_iRMB": "C2f+iRMB"},
    **{"C2f_DAttention": "C2f+DAttention", "C2f_CoordAtt": "C2f+CA", "C3k2_SEAttention": "C3k2+SE"},
    **{"c3k2_se": "C3k2+SE"},
    **{"SPPF_LSKA": "SPPF+LSKA", "SEBottleneck": "Bottleneck+SE", "Bottleneck_CBAM": "Bottleneck+CBAM"},
    **{"Conv_CBAM": "Conv+CBAM", "C2f_EMMA": "C2f+EMA", "C2f_deformable_LKA": "C2f+DLKA", "C2PSA-CAA": "C2PSA+CAA"},
    **{"C2PSA_SEAM": "C2PSA+SEAM", "C3k2_AFGCAttention": "C3k2+AFGC", "SpatialGroupEnhance_Block": "SGE"},
    **{"Strip_Attention": "StripAttention", "C3k2_RCM": "C3k2+RCM", "C2f_MPCA": "C2f+MPCA", "StripBlock": NONE},
    **{"C3k2_PPA": "C3k2+PPA", "C2f_PPA": "C2f+PPA", "GLSA_Block": "GLSA"},
    # separators, case, generic words
    **{"SE_Block": "SE", "SEBlock": "SE", "se_block": "SE", "SEModule": "SE", "se_layer": "SE", "Cbam": "CBAM"},
    **{"CBAM_Block": "CBAM", "cbam": "CBAM", "simam_module": "SimAM", "Simam": "SimAM", "CA_Block": "CA"},
    **{"CABlock": "CA"},
    **{"EMA_attention": "EMA", "EMA_attention_module": "EMA", "EMAModule": "EMA", "GAM_Attention": "GAM"},
    **{"eca_layer": "ECA"},
    **{"NAM_Attention": "NAM", "SKLayer": "SK", "sa_layer": "ShuffleAttention", "CAM_Module": "CAM"},
    **{"PAM_Module": "PAM"},
    **{"GCBlock": "GC", "Coord_Att": "CA", "coordatt": "CA", "Self_Attn": "SelfAttention", "AxialAttn": "Axial"},
    **{"Triplet_Attention": "Triplet", "bi_level_routing_attention": "BRA", "LSK_Block": "LSK", "scSEBlock": "SCSE"},
    # synonyms
    **{"EfficientChannelAttention": "ECA", "SpatialAttention": "CBAMSpatial", "ChannelAttention": "CBAMChannel"},
    **{"CoordinateAttention": "CA", "SqueezeExcitation": "SE", "SqueezeExcite": "SE", "ECANet": "ECA", "SENet": "SE"},
    **{"MultiHeadAttention": "MHSA", "MultiheadAttention": "MHSA", "GlobalAttentionMechanism": "GAM"},
    **{"BiFormer": "BRA"},
    **{"NONLocalBlock2D": "NonLocal", "ContextBlock2d": "GC", "DAttentionBaseline": "DAttention"},
    **{"BiFPN_Add2": "WeightedFusion"},
    **{"EfficientAdditiveAttnetion": "EfficientAdditive", "MixedLocalChannelAttention": "MLCA", "SKNet": "SK"},
    # typos
    **{"CBMA": "CBAM", "Cbm": "CBAM", "CBBAM": "CBAM", "SEAtention": "SE", "EMMA": "EMA", "Tripplet": "Triplet"},
    **{"TripleAttention": "Triplet", "CBAMChanel": "CBAMChannel", "SEBlok": "SE", "ExternelAttention": "External"},
    **{"Conw": "Conv", "C3k3": "C3k2", "c2f": "C2f", "Concta": "Concat", "SCdown": "SCDown"},
    # another mechanism, or several: nothing
    **dict.fromkeys(["C2f_SHSA_CGLU", "C2f_Faster_EMA"], NONE),
    **dict.fromkeys(["C2f_iRMB_Cascaded"], NONE),
    **dict.fromkeys(["C2f_Att", "C2f_Attention", "C3STR", "C2CGA", "C3k2_Faster", "C2f_DCN"], NONE),
    **dict.fromkeys(["C3k2_C2f"], NONE),
    **dict.fromkeys(["C3_BiFPN", "C2f_AFF", "CBAMConv", "SAConv", "PConv", "DSConv", "GSConv"], NONE),
    **dict.fromkeys(["ASF", "CALayer", "MSA2", "LKS", "FocalAttention"], NONE),
    **dict.fromkeys(["MLA"], NONE),
    **dict.fromkeys(["GlobalAttention", "LinearAttention", "ShuffleBlock", "TransformerBlock", "SKBasicBlock"], NONE),
    **dict.fromkeys(["SEUNet"], NONE),
    **dict.fromkeys(["MobileViTv3", "BiFPN_Concat2", "ChannelGate", "Attention", "CBAMv2", "ECBAM", "SCSB"], NONE),
    **dict.fromkeys(["MSCB"], NONE),
}  # fmt: skip


def suggested(name: str) -> str:
    return (
        module_hint(name).removeprefix("; did you mean ").removesuffix("?")
        if "did you mean" in module_hint(name)
        else ""
    )


@pytest.mark.parametrize(("given", "meant"), GIVEN.items(), ids=GIVEN)
def test_suggestions(given: str, meant: str) -> None:
    if meant and not hasattr(tasks, block_of(meant)) and not is_layer(meant):
        pytest.skip(f"this Ultralytics has no {block_of(meant)}")
    assert not is_layer(given)
    assert suggested(given) == meant
    assert name_problem(given) == f"unknown layer {given!r}" + (
        f"; did you mean {meant}?" if meant else "; yolo-attn layers lists the layers, and layers=FILE adds custom ones"
    )


SUFFIXES = ("", "Block", "_Block", "-module", "_layer", "Attention", "_attention", "Attn", "_Attention_Block")
SINGLE = [s for s in list_layers() if s.inputs == 1 and not s.more_inputs]
JOINTS = ("{block}_{layer}", "{block}-{layer}", "{layer}_{block}", "{block}_{layer}Block", "{block}_{layer}_attention")


def test_names_that_differ_in_case_only_are_read_as_written() -> None:
    for name, layer in (("SCConv", "SelfCalibrated"), ("ScConv", "SpatialChannelReconstruction")):
        assert get_layer(name).name == suggest_layer(name, layer_names()) == layer
        assert suggested(f"C2f_{name}") == f"C2f+{layer}"
    for name in ("scconv", "SC_Conv", "ScConvBlock"):
        assert suggest_layer(name, layer_names()) == ""
    with pytest.raises(UserError, match=r"^unknown layer 'scconv'; did you mean SCConv or ScConv\?$"):
        get_layer("scconv")
    assert name_problem("scconv") == "unknown layer 'scconv'; did you mean SCConv or ScConv?"


@pytest.mark.parametrize("spec", list_layers(), ids=lambda spec: spec.name)
def test_every_spelling_of_a_layer_means_it_or_nothing(spec) -> None:
    found = {spec.name.lower(): suggest_layer(spec.name.lower(), layer_names())}
    for suffix in SUFFIXES:
        for word in (spec.name, *spec.aliases):
            found[word + suffix] = suggest_layer(word + suffix, layer_names())
    assert found[spec.name.lower()] == spec.name
    other = {word for word in found if is_other_mechanism(word) or word in layer_names()}  # SA + Block is not SA
    assert {word: meant for word, meant in found.items() if word not in other and meant not in ("", spec.name)} == {}
    wrapped = {spec.name + suffix for suffix in ("_Block", "-module")} - other
    assert spec.name.endswith("Block") or all(found[word] == spec.name for word in wrapped)


def test_a_combination_of_block_and_layer_keeps_both() -> None:
    """For all combinations, the suggestion contains the block and the layer, and no other layer."""
    blocks, names = hosting_blocks(), layer_names()
    for block, spec, joint in itertools.product(("C3k2", "C2f", "C3", "C2PSA", "SPPF", "Conv"), list_layers(), JOINTS):
        word = joint.format(block=block, layer=spec.name)
        if fold(word) in {*map(fold, blocks), *map(fold, names)}:  # SK_Conv is SKConv, A2_C2f is A2C2f
            continue
        meant = suggest_module(word, blocks, blocks, names)
        assert meant in ("", f"{block}+{spec.name}"), word
        assert meant or spec.name.endswith(("Attention", "Block")) or is_other_mechanism(spec.name + "Attention"), word
    for block, spec in itertools.product(blocks, list_layers()):
        assert suggest_module(f"{block}_{spec.name}", blocks, blocks, names) in ("", f"{block}+{spec.name}")


@pytest.mark.parametrize("name", sorted(OTHER_MECHANISMS))
def test_nothing_is_suggested_for_another_mechanism(name: str) -> None:
    for word in (name, name.lower(), f"C2f_{name}", f"C3k2-{name}", f"{name}_C3", f"{name}Block"):
        if not is_layer(word) and not hasattr(tasks, word):
            assert suggested(word) in ("", next((n for n in vars(tasks) if fold(n) == fold(word)), "")), word


def test_a_wrong_letter_in_an_acronym_is_another_acronym() -> None:
    for spec in list_layers():
        if not re.fullmatch("[A-Z]{2,5}", spec.name):
            continue
        for i, letter in itertools.product(range(len(spec.name)), "ABCDEFGHIKLMNPRSTUVWX"):
            word = spec.name[:i] + letter + spec.name[i + 1 :]
            doubled = re.search(r"(.)\1", word)  # a typo
            if sorted(word) != sorted(spec.name) and not doubled and not is_layer(word):
                assert suggest_layer(word, layer_names()) != spec.name, word


def test_the_tables_contain_valid_names() -> None:
    assert set(SPELLINGS) <= set(layer_names().values())
    known = {fold(word) for word in layer_names()}
    spellings = [fold(word) for words in SPELLINGS.values() for word in words]
    assert len(spellings) == len(set(spellings))
    assert not {fold(word) for word in OTHER_MECHANISMS} & {*known, *spellings}
    options = {option for spec in list_layers() for option in spec.options}
    assert set(OPTIONS) <= options


def test_spellings_mean_their_layer() -> None:
    for layer, words in SPELLINGS.items():
        for word in words:
            assert suggest_layer(word, layer_names()) == layer
            assert suggest_layer(word.lower(), layer_names()) == layer


def test_custom_layers_are_suggested_and_unregistered_ones_are_not() -> None:
    names = {**layer_names(), "MyGate": "MyGate"}
    assert suggest_layer("my_gate_block", names) == "MyGate"
    assert suggest_layer("my_gate_block", layer_names()) == ""
    without = {word: layer for word, layer in layer_names().items() if layer != "ECA"}
    assert suggest_layer("EfficientChannelAttention", without) == ""


@pytest.mark.parametrize("meant", sorted({m for m in GIVEN.values() if "+" in m}))
def test_a_suggested_block_builds_with_the_layer(meant: str) -> None:
    if not hasattr(tasks, block_of(meant)):
        pytest.skip(f"this Ultralytics has no {block_of(meant)}")
    rows = [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, meant, [64]], [[1], 1, "Detect", ["nc"]]]
    with torch.device("meta"):
        built = build_rows({"nc": 2, "backbone": rows[:2], "head": rows[2:]}, 3)
    assert count_inside(built[1], get_layer("".join(layers_in(meant))).name)


def test_every_block_that_is_suggested_builds_with_a_layer_inside() -> None:
    """Blocks are built with their own arguments where these differ from those of Conv."""
    args = {
        "HGStem": [32, 64],
        "HGBlock": [32, 64, 3],
        "RepNCSPELAN4": [64, 32, 16, 1],
        "SPPELAN": [64, 32],
        "ELAN1": [64, 32, 16],
    }
    args |= {"AIFI": [128, 4], "ResNetLayer": [64, 64, 1, False, 1], "SCDown": [64, 3, 2], "C3x": [64], "RepVGGDW": []}
    args |= {"ConvTranspose": [64, 2, 2], "DWConvTranspose2d": [64, 2, 2]}
    unbuilt = []
    for block in hosting_blocks():
        rows = [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, f"{block}+SE", args.get(block, [64])], [[1], 1, "Detect", ["nc"]]]
        try:
            with torch.device("meta"):
                built = build_rows({"nc": 2, "backbone": rows[:2], "head": rows[2:]}, 3)
            assert any(isinstance(m, nn.Module) and type(m).__name__ == "SE" for m in built[1].modules())
        except Exception as error:  # all are listed below
            unbuilt.append(f"{block}: {error}")
    assert unbuilt == []


@pytest.mark.parametrize(
    ("layer", "option", "meant"),
    [
        ("SE", "ratio", "reduction"), ("SE", "reducton", "reduction"), ("EMA", "factor", "groups"),
        ("ECA", "k_size", "kernel_size"), ("MSCA", "ks", "kernel_sizes"), ("MHSA", "num_heads", "heads"),
        ("CBAM", "kernel", "kernel_size"), ("SE", "xyz", ""),
    ],
)  # fmt: skip
def test_synonyms_of_options(layer: str, option: str, meant: str) -> None:
    assert option_hint(option, get_layer(layer).options) == (f"; did you mean {meant}?" if meant else "")


def test_words_with_one_typo() -> None:
    assert suggest_word("visdron", ["VisDrone", "VOC"]) == "VisDrone"
    assert suggest_word("cifar1000", ["cifar10", "cifar100"]) == ""
    assert suggest_word("abcd", ["abce", "abcf"]) == ""  # ambiguous
