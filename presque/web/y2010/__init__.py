"""The 2010 routes."""
