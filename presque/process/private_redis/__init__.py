"""The Redis server that presque runs itself, and the folder in which it keeps its data."""
