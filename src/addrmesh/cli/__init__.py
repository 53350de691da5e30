"""The command line: one file per noun. What is slow to import waits until a command needs it."""
