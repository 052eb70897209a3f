"""What `scripts/demo` does: a Label Studio, the backend and a project that shows the loop."""
