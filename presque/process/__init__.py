"""What a process is: its root service, its children, its listening sockets, and the private Redis."""
