"""Where units run: in this thread, in worker processes, or on a Ray cluster."""
