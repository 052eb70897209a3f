"""The only package that speaks to Label Studio. Knows no torch and no store."""
