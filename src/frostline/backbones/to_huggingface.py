"""A fine-tuned network of Hugging Face → a folder that `from_pretrained` takes, with its classes and its input."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from frostline.backbones.from_huggingface import quiet
from frostline.backbones.network import InputSpec, Kind, Spec
from frostline.backbones.processor import measured
from frostline.errors import RunFailure


def save_huggingface(model: Any, folder: Path, *, classes: tuple[str, ...], spec: Spec) -> tuple[str, ...]:
    """Write configuration, weights, and image processor or tokenizer of a network.

    Args:
        model: of transformers; a classifier, whose head has one output for each class, or one of masked words.
        folder: it is made, and files in it are written over.
        classes: their names, in the order of the outputs; none where words are learned.
        spec: what the network takes: an image processor stretches a picture to that size, without a crop.

    Returns:
        What a person should be told.

    Raises:
        RunFailure: what was written does not load strictly.
    """
    with quiet():
        if classes:
            model.config.num_labels = len(classes)
            model.config.problem_type = "single_label_classification"  # what it came from may have been another
            model.config.id2label = dict(enumerate(classes))
            model.config.label2id = {name: label for label, name in enumerate(classes)}
        model.save_pretrained(folder)
        processor = _processor(spec) if isinstance(spec, InputSpec) else spec.tokenizer
        if processor is not None:
            processor.save_pretrained(folder)
    if processor is None and isinstance(spec, InputSpec):
        return (f"no image processor of transformers gives {spec.channels} pictures: prepare them yourself",)
    return ()


def load_huggingface(folder: Path, *, kind: Kind = "images") -> nn.Module:
    """Load a folder as its users will, strictly.

    Args:
        folder: what `save_huggingface` wrote.
        kind: what the network has learned.

    Returns:
        The network in eval mode.

    Raises:
        RunFailure: a tensor is missing, left over or of another shape.
    """
    import transformers

    made: dict[Kind, Any] = {
        "images": transformers.AutoModelForImageClassification,
        "text": transformers.AutoModelForSequenceClassification,
        "masked_text": transformers.AutoModelForMaskedLM,
    }
    with quiet():
        model, loaded = made[kind].from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    wrong = [name for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in loaded[kind]]
    if wrong:
        raise RunFailure(
            f"export {folder.name}",
            found=f"transformers does not load it strictly: {len(wrong)} tensors differ (such as {wrong[0]})",
            do="write ONNX (`--format onnx`)",
        )
    network: nn.Module = model
    return network


def _processor(spec: InputSpec) -> Any:
    """Choose an image processor that gives exactly what the network takes; nothing where there is none."""
    from transformers import PPLCNetImageProcessor, ViTImageProcessor

    many = spec.num_channels // len(spec.mean)
    mean, std = list(spec.mean) * many, list(spec.std) * many
    common = {
        "size": {"height": spec.size_px, "width": spec.size_px},
        "resample": 2,  # bilinear, as pictures are read for training
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
    }
    kinds: dict[str, Any] = {"rgb": ViTImageProcessor, "bgr": PPLCNetImageProcessor}
    if spec.channels not in kinds:
        return None
    # It turns the channels around behind the normalisation, and fits the shorter edge unless that is taken away.
    turned = {"do_center_crop": False, "resize_short": None} if spec.channels == "bgr" else {}
    order = -1 if turned else 1
    processor = kinds[spec.channels](image_mean=mean[::order], image_std=std[::order], **common, **turned)
    found = measured(processor)
    values = [*mean, *std]
    if found is None or (found.size_px, found.channels) != (spec.size_px, spec.channels):
        return None
    near = all(abs(one - other) < 1e-4 for one, other in zip([*found.mean, *found.std], values, strict=True))
    return processor if near else None
