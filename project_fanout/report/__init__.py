"""The report of a run: what its ledger holds of it, as one HTML page."""
