"""Make a project for images of some classes.

Class names come from data sets and are hostile: the labeling config is built, never pasted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from ml_backend.errors import ConfigurationError
from ml_backend.labelstudio.client import LabelStudioClient, reasons
from ml_backend.labelstudio.labeling_config import parse_control

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
REFUSED = frozenset({400})
DIGITS = frozenset("0123456789")


def config_of_classes(classes: Sequence[str]) -> str:
    """Return a labeling config that asks for one of the classes, in their order.

    Where all are digits, each has its own key; else Label Studio gives out keys in order.
    Raises ConfigurationError for fewer than two, or a name that Label Studio cannot hold.
    """
    if len(classes) < 2:
        raise ConfigurationError(
            f"classes: {len(classes)} given, expected two at least; name them where the source "
            "has no labels, e.g. --classes cat,dog"
        )
    view = Element("View")
    SubElement(view, "Image", name="image", value="$image")
    choices = SubElement(view, "Choices", name="choice", toName="image", choice="single")
    choices.set("showInline", "true")
    digits = DIGITS.issuperset(classes)
    for name in classes:
        SubElement(choices, "Choice", _choice(name), **({"hotkey": name} if digits else {}))
    config = tostring(view, encoding="unicode")
    if parse_control(config).classes != tuple(classes):
        raise ConfigurationError("classes: some names do not survive in a labeling config")
    return config


def create_project(client: LabelStudioClient, title: str, label_config: str) -> int:
    """Make an empty project; return its id. Raises ConfigurationError with Label Studio's words."""
    wanted = {"title": title, "label_config": label_config}
    reply = client.send("POST", "/api/projects", json=wanted, accept=REFUSED)
    if reply.status == 400:
        raise ConfigurationError(
            f"Label Studio makes no project {title!r}: {client.scrubbed(reasons(reply.body))}"
        )
    return int(reply.body["id"])


def _choice(name: str) -> dict[str, str]:
    if not name.strip() or NO_XML.search(name):
        raise ConfigurationError(f"class {name!r} has no visible name, or characters that XML bars")
    if "$" in name:  # the front end would look for a field of the task by what follows it
        return {"value": name.replace("$", "\uff04"), "alias": name}
    return {"value": name}
