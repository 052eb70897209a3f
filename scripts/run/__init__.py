"""`active-labeler run`: from a data set and a YAML file to a finished labeling."""
