"""A seeded exchange: books, tapes and planted surges whose times are known afterwards."""
