"""Fixtures that tests of several packages share."""

from tests.label_studio_server import bulk_label_studio, label_studio

__all__ = ["bulk_label_studio", "label_studio"]
