"""What a fab does around a run: who may, within which limits, on which tool state, at what cost."""
