"""Networks that verifiers and measures run."""
