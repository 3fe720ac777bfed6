"""Background work: one module per task, run by one shared loop."""
