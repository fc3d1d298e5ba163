"""OrderWorkflow, and the steps it calls. No I/O."""
