"""Plain data as text: YAML to read and copy, or one line of words."""

import json
from io import StringIO
from typing import Any

from ruamel.yaml import YAML, ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter


class _Representer(RoundTripRepresenter):
    """Writes `null` where ruamel.yaml leaves a place empty, and 1.0e-05, since 1e-05 is text to readers of YAML 1.1."""

    def null(self, _: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")

    def real(self, value: float) -> ScalarNode:
        node = self.represent_float(value)
        if "." not in node.value:
            node.value = node.value.replace("e", ".0e")
        return node


_Representer.add_representer(type(None), _Representer.null)
_Representer.add_representer(float, _Representer.real)


def as_yaml(content: Any) -> str:
    """Write plain data as YAML, in the order it has.

    >>> print(as_yaml({"freeze": {"through": "stage2"}, "lr": 1e-5, "sizes": (1, 2)}), end="")
    freeze:
      through: stage2
    lr: 1.0e-05
    sizes:
      - 1
      - 2
    """
    # Through JSON, so that a tuple or a path becomes what a reader of the record would find there.
    plain = json.loads(json.dumps(content, default=str))
    writer = YAML()
    writer.Representer = _Representer
    writer.width = 100
    writer.indent(mapping=2, sequence=4, offset=2)
    text = StringIO()
    writer.dump(plain, text)
    return text.getvalue().removesuffix("...\n")


def shortened(content: Any, *, most: int = 40) -> Any:
    """Cut long lists and dicts, and say how much is left out.

    >>> shortened({"names": ["a", "b", "c"]}, most=2)
    {'names': ['a', 'b', '… 1 more']}
    """
    if isinstance(content, dict):
        items = {key: shortened(value, most=most) for key, value in list(content.items())[:most]}
        return items if len(content) <= most else {**items, "…": f"{len(content) - most:,} more"}
    if isinstance(content, list | tuple):
        values = [shortened(value, most=most) for value in content[:most]]
        return values if len(content) <= most else [*values, f"… {len(content) - most:,} more"]
    return content


def words(content: Any) -> str:
    """Say plain data in one line.

    >>> words({"through": "stage2"}), words({"match": ["layer1.*", "bn1"], "norm": None}), words(True)
    ('through: stage2', 'match: layer1.*, bn1; norm: none', 'yes')
    """
    match content:
        case dict():
            return "; ".join(f"{key}: {words(value)}" for key, value in content.items()) or "none"
        case list() | tuple():
            return ", ".join(words(value) for value in content) or "none"
        case bool():
            return "yes" if content else "no"
        case None:
            return "none"
        case _:
            return str(content)
