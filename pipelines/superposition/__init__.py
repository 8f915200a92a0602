"""Superposition on pipelines: one image of several prompts, as a function, a job, and what a judge says of it."""
