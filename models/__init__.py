"""Networks that verifiers, measures and guidance run."""
