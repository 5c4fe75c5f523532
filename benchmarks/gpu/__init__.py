"""The GPU kit: one command that measures the game on a card, ready before a card is at hand."""
