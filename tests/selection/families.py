"""The networks whose outlines are written down in golden/: one function a source, true in depth and class."""

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import nn

from networks import shared_network

SMALL = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 50}
TORCHVISION = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
)
TIMM = (
    "hgnetv2_b4",
    "lcnet_100",
    "vit_tiny_patch16_224",
    "convnextv2_atto",
    "mobilenetv4_conv_small",
    "swin_tiny_patch4_window7_224",
    "mixer_s16_224",
    "densenet121",
    "regnetx_002",
    "edgenext_xx_small",
    "rexnet_100",
    "levit_128s",
    "poolformer_s12",
    "inception_v3",
    "vgg11",
)
# As PaddleOCR reads lines: rows and columns are halved one at a time, and the second stage halves nothing.
LINES = [
    [[3, 16, 32, 1, False]],
    [[3, 32, 64, 1, False], [3, 64, 64, 1, False]],
    [[3, 64, 128, (2, 1), False], [3, 128, 128, 1, False]],
    [[3, 128, 256, (1, 2), False], *[[5, 256, 256, 1, False]] * 4],
    [[5, 256, 512, (2, 1), True], [5, 512, 512, 1, True], [5, 512, 512, (2, 1), False], [5, 512, 512, 1, False]],
]


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(**SMALL))


def distilbert() -> nn.Module:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    return DistilBertForSequenceClassification(DistilBertConfig(dim=32, n_heads=4, hidden_dim=64, vocab_size=50))


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(hidden_size=32, num_attention_heads=4, intermediate_size=64))


def mobile_recogniser() -> nn.Module:
    from transformers import PPOCRV5MobileRecConfig, PPOCRV5MobileRecForTextRecognition

    return PPOCRV5MobileRecForTextRecognition(PPOCRV5MobileRecConfig(head_out_channels=50))


def line_recogniser() -> nn.Module:
    from transformers import PPLCNetV3Config, PPOCRV5MobileRecConfig, PPOCRV5MobileRecForTextRecognition

    backbone = PPLCNetV3Config(scale=0.95, block_configs=LINES, out_features=["stage5"])
    return PPOCRV5MobileRecForTextRecognition(PPOCRV5MobileRecConfig(backbone_config=backbone, head_out_channels=50))


def server_recogniser() -> nn.Module:
    from transformers import PPOCRV5ServerRecConfig, PPOCRV5ServerRecForTextRecognition

    return PPOCRV5ServerRecForTextRecognition(PPOCRV5ServerRecConfig(head_out_channels=50))


def hgnetv2() -> nn.Module:
    from transformers import HGNetV2Config, HGNetV2ForImageClassification

    return HGNetV2ForImageClassification(HGNetV2Config())


def swin() -> nn.Module:
    from transformers import SwinConfig, SwinForImageClassification

    return SwinForImageClassification(SwinConfig(embed_dim=24))


def yolo11n() -> nn.Module:
    tasks = pytest.importorskip("ultralytics.nn.tasks", reason="ultralytics is not installed: it is an extra")
    return tasks.DetectionModel("yolo11n.yaml", verbose=False)


def _torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, weights=None)


def _timm(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name)


def _shared(module: str, name: str) -> Callable[[], nn.Module]:
    return lambda: shared_network(module, name)


FAMILIES: dict[str, dict[str, Callable[[], nn.Module]]] = {
    "torchvision": {name: _torchvision(name) for name in TORCHVISION},
    "timm": {name: _timm(name) for name in TIMM},
    "transformers": {
        "BERT": bert,
        "DistilBERT": distilbert,
        "ViT": vit,
        "Swin": swin,
        "HGNetV2": hgnetv2,
        "PP-OCRv5 mobile recogniser": mobile_recogniser,
        "PP-OCRv5 mobile recogniser of lines": line_recogniser,
        "PP-OCRv5 server recogniser": server_recogniser,
    },
    "ultralytics": {"yolo11n": yolo11n},
    "shared": {
        "PP-OCRv2 recogniser": _shared("ppocrv2_rec", "PPOCRv2Rec"),
        "LPRNet": _shared("lprnet", "LPRNet"),
        "MobileFaceNet": _shared("mobilefacenet", "MobileFaceNet"),
        "CIFAR ResNet-20": _shared("cifar_resnet", "CifarResNet"),
    },
}


def built(source: str, name: str) -> nn.Module:
    """Build one of them without values: an outline reads none."""
    with torch.device("cpu" if source == "ultralytics" else "meta"):
        return FAMILIES[source][name]()
