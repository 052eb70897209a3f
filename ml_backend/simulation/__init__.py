"""Labeling replayed on labeled data: embeddings and labels in, learning curves and advice out.

Knows replays and their statistics; may call `strategies`, the head of `learning`, and `charts`.
Must not know Label Studio, Flask, the store, torch, or where images come from.
"""
