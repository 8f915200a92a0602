"""A search: nodes are proposed, made, scored, recorded, and told to the strategy."""
