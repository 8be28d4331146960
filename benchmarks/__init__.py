"""What the agent costs: one module for each question, all measured on the machine that asks."""
