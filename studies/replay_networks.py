"""The networks of replay_families.py: which there are, how each is built with random weights, and what it is given."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

import outlines

SHARED = Path(__file__).resolve().parents[2] / "shared" / "models"
SAMPLES = 8
# Tried in front of the published size, in pixels; 64 would leave the last stage of many networks two pixels.
SIDES = (96, 112, 128)
SMALL: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 4}
WORDS = 50
PADDED = 12
# Of shared/models: module, class, and the size of its images.
OF_SHARED = {
    "PP-OCRv2 recogniser": ("ppocrv2_rec", "PPOCRv2Rec", (32, 96)),
    "LPRNet": ("lprnet", "LPRNet", (24, 94)),
    "MobileFaceNet": ("mobilefacenet", "MobileFaceNet", (112, 112)),
    "CIFAR ResNet-20": ("cifar_resnet", "CifarResNet", (32, 32)),
}


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of the study.

    Attributes:
        source: timm, torchvision, transformers, shared or ultralytics.
        family: as the source calls it.
        name: of the network.
        parameters: how many it has.
        given: what one sample is, in words.
        build: makes it, with random weights.
        sample: makes one sample: a tensor, or tensors by the names of arguments.
    """

    source: str
    family: str
    name: str
    parameters: int
    given: str
    build: Callable[[], nn.Module]
    sample: Callable[[], Any]

    def samples(self) -> list[Any]:
        """Make the samples of the study, always the same ones."""
        torch.manual_seed(1)
        return [self.sample() for _ in range(SAMPLES)]


def networks() -> Iterator[Network]:
    """Yield every network of the study."""
    for source, family, names in outlines.families():
        found = outlines.smallest(source, names)
        if found is not None:
            yield of_images(source, family, *found)
    yield from of_transformers()
    yield from of_shared()


def of_images(source: str, family: str, name: str, model: nn.Module) -> Network:
    """Take a network of timm or torchvision, with the smallest images that it takes.

    Args:
        source: timm or torchvision.
        family: its family.
        name: its name.
        model: it, without values.
    """
    shape, options = _shape(source, name, model)
    return Network(
        source=source,
        family=family,
        name=name,
        parameters=_numel(model),
        given="×".join(map(str, shape)),
        build=lambda: _built(source, name, options),
        sample=_image(*shape),
    )


def _image(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(*shape)


def _built(source: str, name: str, options: Mapping[str, Any]) -> nn.Module:
    made: nn.Module
    if source == "timm":
        made = timm.create_model(name, **options)
    else:
        # Their own initialisation takes minutes.
        options = {"init_weights": False} if name.startswith(("googlenet", "inception")) else {}
        made = torchvision.models.get_model(name, weights=None, **options)
    return made


def _shape(source: str, name: str, model: nn.Module) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Find the smallest images that a network takes, and what it is to be built with for them."""
    published = tuple(outlines._image(model).shape[1:])
    if name == "inception_v3":
        published = (3, 299, 299)
    sides = [side for side in SIDES if side < published[-1]]
    for side in sides:
        if _takes(model, (published[0], side, side)):
            return (published[0], side, side), {}
    for side in sides if source == "timm" else ():
        try:
            with torch.device("meta"):
                made = timm.create_model(name, img_size=side)
        except Exception:  # it has no such option, or does not take the size
            continue
        if _takes(made, (published[0], side, side)):
            return (published[0], side, side), {"img_size": side}
    return published, {}


def _takes(model: nn.Module, shape: tuple[int, ...]) -> bool:
    try:
        with torch.no_grad():
            for train in (True, False):
                model.train(train)(torch.zeros(2, *shape, device="meta"))
    except Exception:  # each says it in its own way
        return False
    return True


def _numel(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# -- transformers


class Averaged(nn.Module):
    """An encoder of texts, the mean of its tokens, and a head."""

    def __init__(self, encoder: nn.Module, *, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Classify texts."""
        states_NTC: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask_NT1 = attention_mask.unsqueeze(-1)
        logits: Tensor = self.head((states_NTC * mask_NT1).sum(1) / mask_NT1.sum(1))
        return logits


def _text() -> dict[str, Tensor]:
    """Make a text of some length, padded; it ends with token 1, as T5 wants it."""
    length = int(torch.randint(4, PADDED + 1, ()))
    words = torch.randint(5, WORDS, (PADDED,))
    words[length - 1 :] = 0
    words[length - 1] = 1
    return {"input_ids": words, "attention_mask": (torch.arange(PADDED) < length).long()}


def _pixels(*shape: int) -> Callable[[], dict[str, Tensor]]:
    return lambda: {"pixel_values": torch.randn(*shape)}


def _sound() -> dict[str, Tensor]:
    return {"input_values": torch.randn(1600)}


def _hugging_face() -> dict[str, tuple[Callable[[], nn.Module], str, Callable[[], Any]]]:
    import transformers as hf

    texts: dict[str, Any] = {**SMALL, "vocab_size": WORDS}
    t5: dict[str, Any] = {
        "vocab_size": WORDS,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 4,
        "num_heads": 4,
        "decoder_start_token_id": 0,
    }
    sound: dict[str, Any] = {
        **texts,
        "conv_dim": [16] * 3,
        "conv_kernel": [10, 3, 3],
        "conv_stride": [5, 2, 2],
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "classifier_proj_size": 16,
    }
    quiet: dict[str, Any] = {**sound, "layerdrop": 0.0, "apply_spec_augment": False}
    distil: dict[str, Any] = {"dim": 32, "n_heads": 4, "hidden_dim": 64, "n_layers": 4, "vocab_size": WORDS}
    swin: dict[str, Any] = {"embed_dim": 24, "image_size": 64, "window_size": 4, "depths": [1, 1, 2, 1]}
    convnext: dict[str, Any] = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
    albert: dict[str, Any] = {**texts, "embedding_size": 16}
    words = f"{PADDED} tokens"
    made: dict[str, tuple[Any, Any, str, Callable[[], Any]]] = {
        "BERT": (hf.BertForSequenceClassification, hf.BertConfig(**texts), words, _text),
        "DistilBERT": (hf.DistilBertForSequenceClassification, hf.DistilBertConfig(**distil), words, _text),
        "RoBERTa": (hf.RobertaForSequenceClassification, hf.RobertaConfig(**texts), words, _text),
        "ALBERT": (hf.AlbertForSequenceClassification, hf.AlbertConfig(**albert), words, _text),
        "T5 encoder": (_t5_encoder, hf.T5Config(**t5), words, _text),
        "T5": (hf.T5ForSequenceClassification, hf.T5Config(**t5), words, _text),
        "ViT": (hf.ViTForImageClassification, hf.ViTConfig(**SMALL, image_size=64), "3×64×64", _pixels(3, 64, 64)),
        "ConvNextV2": (
            hf.ConvNextV2ForImageClassification,
            hf.ConvNextV2Config(**convnext),
            "3×64×64",
            _pixels(3, 64, 64),
        ),
        "Swinv2": (hf.Swinv2ForImageClassification, hf.Swinv2Config(**swin), "3×64×64", _pixels(3, 64, 64)),
        "DINOv2": (
            hf.Dinov2ForImageClassification,
            hf.Dinov2Config(**SMALL, image_size=56),
            "3×56×56",
            _pixels(3, 56, 56),
        ),
        "Wav2Vec2": (hf.Wav2Vec2ForSequenceClassification, hf.Wav2Vec2Config(**quiet), "1600 samples", _sound),
        "Wav2Vec2, masks and LayerDrop": (
            hf.Wav2Vec2ForSequenceClassification,
            hf.Wav2Vec2Config(**sound),
            "1600 samples",
            _sound,
        ),
        "PP-OCRv5 mobile": (
            hf.PPOCRV5MobileRecForTextRecognition,
            hf.PPOCRV5MobileRecConfig(head_out_channels=WORDS),
            "3×96×96",
            _pixels(3, 96, 96),
        ),
        "PP-OCRv5 server": (
            hf.PPOCRV5ServerRecForTextRecognition,
            hf.PPOCRV5ServerRecConfig(head_out_channels=WORDS),
            "3×48×96",
            _pixels(3, 48, 96),
        ),
    }
    return {name: (_made(kind, config), given, sample) for name, (kind, config, given, sample) in made.items()}


def _made(kind: Any, config: Any) -> Callable[[], nn.Module]:
    return lambda: kind(config)


def _t5_encoder(config: Any) -> nn.Module:
    from transformers import T5EncoderModel

    return Averaged(T5EncoderModel(config), width=config.d_model)


def of_transformers() -> Iterator[Network]:
    """Yield the architectures of Hugging Face, small and random."""
    for family, (build, given, sample) in _hugging_face().items():
        with torch.device("meta"):
            model = build()
        parameters = _numel(model)
        name = type(model).__name__
        yield Network(
            source="transformers",
            family=family,
            name="T5EncoderModel and a linear head" if isinstance(model, Averaged) else name,
            parameters=parameters,
            given=given,
            build=build,
            sample=sample,
        )


# -- networks that stand beside the repository


def of_shared() -> Iterator[Network]:
    """Yield what is in shared/models and can be built without weights; nothing where the folder is absent."""
    if not SHARED.is_dir():
        return
    sys.path.insert(0, str(SHARED))
    for family, (module, name, size) in OF_SHARED.items():
        build = getattr(import_module(module), name)
        yield Network(
            source="shared",
            family=family,
            name=name,
            parameters=_numel(build()),
            given="×".join(map(str, (3, *size))),
            build=build,
            sample=_image(3, *size),
        )
    sys.path.remove(str(SHARED))
    try:
        tasks = import_module("ultralytics.nn.tasks")
    except ImportError:
        return
    yield Network(
        source="ultralytics",
        family="YOLO11",
        name="yolo11n",
        parameters=_numel(tasks.DetectionModel("yolo11n.yaml", verbose=False)),
        given="3×96×96",
        build=lambda: tasks.DetectionModel("yolo11n.yaml", verbose=False),
        sample=_image(3, 96, 96),
    )
