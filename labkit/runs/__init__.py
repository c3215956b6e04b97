"""The loop: every run is predicted before it starts, watched while it runs, judged when it ends, and learned from."""
