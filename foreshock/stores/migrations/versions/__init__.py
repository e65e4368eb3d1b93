"""The steps of the ledger's schema, a file each."""
