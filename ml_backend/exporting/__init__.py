"""Output formats for labels: records in, files out. No torch, no Flask, no Label Studio client."""
