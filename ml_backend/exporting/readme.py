"""README.txt of an export: what is what, and how far the model's labels can be trusted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ml_backend.exporting.records import LabelSet

_ALWAYS = """\
human/labels.csv           what people said, one row a task
left_out.csv               tasks without a label, and why
classes.csv                each class and the name of its folder
learning_curve.csv, .json  the model's accuracy on the holdout, round by round
model_card.json            which model this is, and what it is worth
manifest.json              counts, versions, and the SHA-256 of every file"""
_MODEL = """\
model/labels.csv           what the model says, with its confidence; NOT checked by anybody
model/below_threshold.csv  the part of these rows that does not reach the threshold"""
_OF_FORMAT = {
    "folders": """\
human/CLASS/               images by what people said
model/CLASS/               images by what the model says, at or above the threshold only""",
    "label-studio": """\
label_studio.json          for Label Studio's import: people's labels are annotations, the model's
                           are predictions""",
    "coco": """\
coco_human.json            COCO without boxes, people's labels
coco_model.json            the same, the model's at or above the threshold""",
    "huggingface": """\
huggingface/human          load_dataset("imagefolder", data_dir="huggingface/human")
huggingface/model          the same, the model's at or above the threshold""",
}
_NOTES = """\
Confidence is the probability that the model gives to its label, after temperature scaling; what it
has been worth on labels that people gave is said above.

In the CSV files a cell that a spreadsheet would run as a formula (it begins with = + - @ or the
like, and is no number) has an apostrophe in front; a cell that begins with an apostrophe got
another one. Take one off and you have the value. The JSON files hold every value as it is.

Names of folders and files are made safe: classes.csv says which class a folder is, and the number
at the beginning of an image's name is its task in Label Studio."""


def text(
    labels: LabelSet,
    formats: Collection[str],
    counts: Mapping[str, int],
    *,
    human_only: bool,
) -> str:
    """Write what a person should know who opens the folder."""
    model = [] if human_only else [_MODEL]
    listed = [_ALWAYS, *model, *(_OF_FORMAT[name] for name in formats if name in _OF_FORMAT)]
    if human_only:
        listed = [_without_model(part) for part in listed]
    title = " ".join(str(labels.project["title"]).split())
    paragraphs = [
        f"Labels of project {labels.project['id']}, {title!r}, in {labels.project['label_studio']}",
        f"Written {labels.made_at} by Active Labeler {labels.code_version}.",
        _counted(labels, counts, human_only=human_only),
        "" if human_only else trust_in_words(labels.trust, labels.threshold),
        "\n".join(listed),
        _NOTES,
    ]
    return "\n\n".join(part for part in paragraphs if part) + "\n"


def trust_in_words(trust: Mapping[str, Any], threshold: float) -> str:
    """Say what the holdout tells about the model's labels."""
    n = trust.get("n", 0)
    if not n:
        return (
            "There is no holdout label: nothing measured says how often the model's labels are "
            "right, whatever their confidence."
        )
    above, error = trust["above_threshold"], trust["calibration_error"]
    lines = [
        f"On {n} holdout {'label' if n == 1 else 'labels'}, drawn at random and never trained on, "
        f"the model was right in {_share(trust['accuracy'])}."
    ]
    if above["n"]:
        lines.append(
            f"Of the {above['n']} at or above {threshold:g} it was right in "
            f"{_share(above['accuracy'])}."
        )
    else:
        lines.append(f"None of them reached {threshold:g}.")
    lines.append(
        f"Its expected calibration error was {error['value']:.3f}; {error['by_chance']:.3f} would "
        "be mere chance with so few labels."
    )
    if not trust["calibrated_on"]:
        lines.append("Its confidence is not calibrated yet: too few labels to learn from.")
    return "\n".join(lines)


def _counted(labels: LabelSet, counts: Mapping[str, int], *, human_only: bool) -> str:
    lines = [f"{counts['human']} labels by people."]
    if not human_only:
        lines.append(
            f"{counts['model_above']} labels by the model at or above {labels.threshold:g}, and "
            f"{counts['model_below']} below (version {labels.model_version or '-'})."
        )
    lines.append(f"{counts['left_out']} tasks without a label.")
    if counts["images_missing"]:
        lines.append(f"{counts['images_missing']} images are missing: images_missing.csv says why.")
    return "\n".join(lines)


def _without_model(part: str) -> str:
    lines = part.split("\n")
    return "\n".join(
        line for line in lines if not line.startswith(("model/", "coco_model", "huggingface/model"))
    )


def _share(measure: Mapping[str, float]) -> str:
    value, low, high = (100 * measure[name] for name in ("value", "low", "high"))
    return f"{value:.0f} % (95 % interval {low:.0f} to {high:.0f} %)"
