"""What a project's labels say about model, queue and labels: arrays in, findings out."""
