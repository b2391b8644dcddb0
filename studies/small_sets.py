"""Small sets of classes from what ../shared/data has for other purposes: road users cut out, plates by their state."""

from collections import Counter
from pathlib import Path

from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared/data"
ROAD_USERS = ("Car", "Pedestrian", "Van", "Cyclist", "Truck")
# Of the 205 cars as many as of all others together would be too many.
MOST_OF_A_CLASS = 40
LEAST_SIDE_PX = 24
LEAST_PLATES = 12


def road_users(folder: Path) -> Path:
    """Cut out of the KITTI frames what their boxes hold, into a folder for each class."""
    counted: Counter[str] = Counter()
    for label in sorted((SHARED / "detection/kitti/labels").glob("*.txt")):
        frame = next((SHARED / "detection/kitti/images").glob(f"{label.stem}.*"))
        for number, line in enumerate(label.read_text().splitlines()):
            name, *numbers = line.split()
            left, top, right, bottom = (float(one) for one in numbers[3:7])
            if name not in ROAD_USERS or min(right - left, bottom - top) < LEAST_SIDE_PX:
                continue
            if counted[name] < MOST_OF_A_CLASS:
                counted[name] += 1
                place = folder / name / f"{label.stem}_{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                with Image.open(frame) as picture:
                    picture.crop((round(left), round(top), round(right), round(bottom))).save(place)
    return folder


def plates_by_state(folder: Path) -> Path:
    """Put the plates of states that have a dozen into a folder for each state."""
    plates = sorted((SHARED / "plates/us").glob("*.jpg"))
    counted = Counter(plate.name[:2] for plate in plates)
    for plate in plates:
        if counted[plate.name[:2]] >= LEAST_PLATES:
            place = folder / plate.name[:2] / plate.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(plate.read_bytes())
    return folder
