"""What `segzero` can do: one module per command, each with ``main(arguments) -> exit status`` and lazy imports."""
