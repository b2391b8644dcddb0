"""How to train, with reasons."""
