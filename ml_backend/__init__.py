"""An ML backend for Label Studio that makes people label less."""

__version__ = "0.1.0"
