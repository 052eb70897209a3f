"""The verbs of a round, one module each: collect, embed, situate, learn, publish, tidy.

Each takes a `Workbench` and plain records. None imports Flask, torch or the Label Studio SDK.
"""
