"""What a client may ask: the application, the routes, their models and errors. Statuses live here only."""
