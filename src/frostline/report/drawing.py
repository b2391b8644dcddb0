"""Templates of pages: what is put into them is escaped, and no name can break a page."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from frostline.report import numbers
from frostline.report.confusion import heat
from frostline.report.names import breakable
from frostline.report.threshold_charts import SAID_LEAST

REPORT_FILE = "report.html"

# Control characters, which no HTML may hold; halves of surrogate pairs, which UTF-8 cannot write; and overrides of the
# direction of writing, with which a name could turn the words of the page around it.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def drawn(template: str, **words: Any) -> str:
    """Fill a template; what HTML cannot hold becomes the sign for what was lost.

    A page asks nothing of the network. Its only script, which its policy knows by the hash, sorts tables.
    """
    script = _script()
    words |= {"script": script, "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}
    return UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", _environment().get_template(template).render(**words))


@cache
def _script() -> str:
    return files("frostline.report").joinpath("templates", "sort.js").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("frostline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    said = (numbers.count, numbers.exact, numbers.share, numbers.percent, numbers.rates, numbers.loss, numbers.duration)
    environment.globals["said_least"] = SAID_LEAST
    environment.filters.update(
        {function.__name__: function for function in (*said, numbers.memory, numbers.moment, heat, breakable)}
    )
    return environment
