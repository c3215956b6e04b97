"""Tool handles: the simulated tool that runs any chapter's dynamics, and the loop that notebooks wait on."""
