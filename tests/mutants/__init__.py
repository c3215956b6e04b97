"""Mutation testing of the physics: wrong constants and flipped signs that the tests ought to notice."""
