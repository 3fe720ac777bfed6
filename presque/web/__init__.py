"""HTTP: the site and its limits, the application, and the routes. Statuses live here only."""
