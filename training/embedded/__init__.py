"""Recipes of the shipped models: `python -m samplesmith.training.embedded.<recipe> --output runs/<name>`."""
