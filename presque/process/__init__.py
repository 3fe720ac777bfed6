"""Everything about processes: the root service, children, listening sockets, and the private Redis."""
