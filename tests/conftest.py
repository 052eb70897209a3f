"""Fixtures that tests of several packages share."""

from tests.label_studio_server import bulk_label_studio, label_studio
from tests.s3_server import s3

__all__ = ["bulk_label_studio", "label_studio", "s3"]
