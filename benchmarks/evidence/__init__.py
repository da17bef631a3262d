"""How many outcomes a second the evidence store takes in, and whether that depends on how many it has."""
