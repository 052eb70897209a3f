"""Time and processes: the store and the trainer loop."""
