"""What `scripts/demo` does: a run of images at hand, and what the order was worth."""
