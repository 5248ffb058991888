"""Speed of the coordinator, measured from outside: load from another process, compared with bare Tornado."""
