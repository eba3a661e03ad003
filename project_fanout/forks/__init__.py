"""Dynamic fork and join: tasks that are known only at run time, and may differ from each other."""
