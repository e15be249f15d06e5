"""How far each remedy may go: what it changes, what it must leave alone, and how it is taken back."""
