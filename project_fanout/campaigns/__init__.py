"""Campaigns: prepare and send one personal e-mail to each of many recipients, and never two."""
