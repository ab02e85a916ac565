"""What people see of the running node: its topics heard as viewers hear them, drawn and kept for docs/views.md."""
