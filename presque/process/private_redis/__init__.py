"""The Redis server that presque itself runs, and its data folder."""
