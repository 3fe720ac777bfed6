"""Redis: the connection to it, the scripts that run in it, and a private server of our own."""
