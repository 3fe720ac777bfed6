"""The routes of 2010."""
