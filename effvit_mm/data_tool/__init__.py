"""Data sets before any training: what is there and what is wrong with it, and archives put into the expected layout."""
