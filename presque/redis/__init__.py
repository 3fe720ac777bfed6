"""Redis: connections, the data model, and the scripts."""
