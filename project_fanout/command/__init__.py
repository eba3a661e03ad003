"""The command `fanout`: a module per group of verbs, imported only when one of its verbs is called."""
