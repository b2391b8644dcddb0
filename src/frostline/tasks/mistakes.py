"""The mistakes that a network was surest of, each as a small picture or a text, for a person to look at."""

import base64
from io import BytesIO

from PIL import Image
from torch import Tensor

from frostline.data.samples import Samples
from frostline.record import Mistake

MOST = 12
SIDE_PX = 128
QUALITY = 80
MOST_LETTERS = 400


def worst_mistakes(samples: Samples, logits_NK: Tensor, places_N: Tensor, *, most: int = MOST) -> tuple[Mistake, ...]:
    """List the samples that got a wrong class, those first of whose class the network was surest.

    Args:
        samples: what was judged.
        logits_NK: what the network gave.
        places_N: the samples' places, in the order of the logits.
        most: how many.
    """
    confidences_N, predicted_N = logits_NK.float().softmax(1).max(1)
    labels = samples.labels
    wrong = [
        (float(confidence), int(place), int(predicted))
        for confidence, place, predicted in zip(confidences_N, places_N, predicted_N, strict=True)
        if labels[int(place)] != int(predicted)
    ]
    return tuple(
        Mistake(
            sample=samples.name(place),
            truth=samples.classes[labels[place]],
            predicted=samples.classes[predicted],
            confidence=confidence,
            **_shown(samples, place),
        )
        for confidence, place, predicted in sorted(wrong, key=lambda one: (-one[0], one[1]))[:most]
    )


def _shown(samples: Samples, place: int) -> dict[str, str]:
    if samples.texts is not None:
        text = samples.texts.content[place]
        return {"text": text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]} …"}
    return {"picture": _small(samples.open(place, at_least_px=SIDE_PX))}


def _small(picture: Image.Image) -> str:
    """Give a JPEG in base64, at most SIDE_PX wide and high; a smaller picture stays as it is."""
    factor = min(1.0, SIDE_PX / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    file = BytesIO()
    picture.resize(size, Image.Resampling.BILINEAR).save(file, "JPEG", quality=QUALITY)
    return base64.b64encode(file.getvalue()).decode("ascii")
