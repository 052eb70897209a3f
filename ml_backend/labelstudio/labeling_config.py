"""Find the one `<Choices>` of a labeling config that can be learned, or say why there is none.

The XML comes from whoever may edit a project: it is parsed as hostile. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ml_backend.errors import ConfigurationError, UnsupportedLabelingConfig
from ml_backend.records import ChoiceControl

MAX_CONFIG_CHARS = 1_000_000
SUPPORTED = 'supported is <Choices choice="single"> on one <Image value="$...">'
SINGLE = ("single", "single-radio")  # Label Studio takes a missing attribute for "single"
CONTROLS_WITH_LABELS = re.compile(r"(labels|rectangle|polygon|brush|ellipse|keypoint|taxonomy)$")


def hash_of(label_config: str) -> str:
    """Return a digest by which a changed labeling config is noticed."""
    return hashlib.sha256(label_config.encode()).hexdigest()


def parse_control(label_config: str, control_name: str | None = None) -> ChoiceControl:
    """Return the single-choice image control named `control_name`, or the only usable one.

    Raises ConfigurationError where the config is no XML, no control has that name, or several
    could be meant; UnsupportedLabelingConfig where the tag asks for something else.
    """
    root = _parse(label_config)
    choices = [tag for tag in _tags(root, "choices") if _attribute(tag, "name")]
    if not choices:
        raise UnsupportedLabelingConfig(_no_choices(root))
    if control_name is not None:
        return _read(root, _named(choices, control_name))
    usable = [tag for tag in choices if _problem(root, tag) is None]
    if len(usable) > 1:
        names = ", ".join(_attribute(tag, "name") for tag in usable)
        raise ConfigurationError(
            f"the labeling config has several <Choices> that could be learned: {names}. "
            "Choose one by its name"
        )
    return _read(root, (usable or choices)[0])


def _parse(label_config: str) -> Element:
    if len(label_config) > MAX_CONFIG_CHARS:
        raise ConfigurationError(
            f"the labeling config has {len(label_config):,} characters, more than the "
            f"{MAX_CONFIG_CHARS:,} that are read"
        )
    try:
        root: Element = fromstring(label_config, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise ConfigurationError(f"the labeling config cannot be read as XML: {error}") from None
    return root


def _tags(root: Element, name: str) -> Iterator[Element]:
    # The front end reads tags and attributes in any case, so both are compared in lower case.
    return (tag for tag in root.iter() if isinstance(tag.tag, str) and tag.tag.lower() == name)


def _attribute(tag: Element, name: str) -> str:
    return next((value for key, value in tag.attrib.items() if key.lower() == name), "")


def _named(choices: list[Element], control_name: str) -> Element:
    for tag in choices:
        if _attribute(tag, "name") == control_name:
            return tag
    names = ", ".join(_attribute(tag, "name") for tag in choices)
    raise ConfigurationError(
        f"the labeling config has no <Choices> named {control_name!r}; it has: {names}"
    )


def _read(root: Element, tag: Element) -> ChoiceControl:
    problem = _problem(root, tag)
    if problem is not None:
        name = _attribute(tag, "name")
        raise UnsupportedLabelingConfig(f'<Choices name="{name}"> {problem}; {SUPPORTED}')
    image = _images(root)[_attribute(tag, "toname")]
    return ChoiceControl(
        from_name=_attribute(tag, "name"),
        to_name=_attribute(tag, "toname"),
        image_field=_attribute(image, "value")[1:],
        classes=tuple(_stored_value(choice) for choice in _tags(tag, "choice")),
    )


def _problem(root: Element, tag: Element) -> str | None:
    """Say what about a `<Choices>` cannot be learned; None where it can."""
    return _mode_problem(tag) or _object_problem(root, tag) or _choices_problem(tag)


def _mode_problem(tag: Element) -> str | None:
    mode = _attribute(tag, "choice") or "single"
    if mode not in SINGLE:
        return f'asks for several answers at once (choice="{mode}")'
    for option in ("perRegion", "perItem"):
        if _attribute(tag, option.lower()).lower() == "true":
            return f'is about parts of a task ({option}="true")'
    if _attribute(tag, "value"):
        return f'takes its choices from each task (value="{_attribute(tag, "value")}")'
    return None


def _object_problem(root: Element, tag: Element) -> str | None:
    to_name = _attribute(tag, "toname")
    image = _images(root).get(to_name)
    if image is None:
        return f'is not on an <Image> (toName="{to_name}")'
    if _attribute(image, "valuelist"):
        return f'is on <Image name="{to_name}"> with several pictures (valueList)'
    if not re.fullmatch(r"\$[^\s$]+", _attribute(image, "value")):
        value = _attribute(image, "value")
        return f'is on <Image name="{to_name}"> whose value="{value}" is not one field of the task'
    return None


def _choices_problem(tag: Element) -> str | None:
    if any(True for choice in _tags(tag, "choice") for _ in _inner_choices(choice)):
        return "has choices inside choices"
    values = [_stored_value(choice) for choice in _tags(tag, "choice")]
    if not values:
        return "has no <Choice>"
    if not all(value.strip() for value in values):
        return "has a <Choice> without a value"
    repeated = [value for value, times in Counter(values).items() if times > 1]
    if repeated:
        return f"has the choice {repeated[0]!r} more than once"
    return None


def _inner_choices(choice: Element) -> Iterator[Element]:
    return (tag for tag in _tags(choice, "choice") if tag is not choice)


def _stored_value(choice: Element) -> str:
    # What annotations hold is the alias where there is one (seen on a running server).
    return _attribute(choice, "alias") or _attribute(choice, "value")


def _images(root: Element) -> dict[str, Element]:
    return {_attribute(tag, "name"): tag for tag in _tags(root, "image")}


def _no_choices(root: Element) -> str:
    found = sorted({tag.tag for tag in root.iter() if CONTROLS_WITH_LABELS.search(tag.tag.lower())})
    has = ", ".join(f"<{name}>" for name in found) or "no control that could be learned"
    return f"the labeling config has no named <Choices> (it has {has}); {SUPPORTED}"
