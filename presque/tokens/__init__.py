"""Tokens: their text, their scopes, the file that lists them, the command that makes them. Standard library only."""
