"""How the weights in the package were made: one command each, nothing that the library itself needs."""
