"""Background work: one module a task, run by one shared loop."""
