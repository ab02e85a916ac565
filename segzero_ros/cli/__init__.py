"""What `segzero` can do: one module per command with ``configure(parser)``, imported when the command is chosen."""
