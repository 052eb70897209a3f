"""Knows data formats: folders, tables, buckets, data sets of other libraries; images in a row.

Knows no Label Studio and no model, and loads no heavy library before a source asks for it.
"""

from ml_backend.sources.item import Problems, Source, SourceItem
from ml_backend.sources.opening import Reach, open_source

__all__ = ["Problems", "Reach", "Source", "SourceItem", "open_source"]
