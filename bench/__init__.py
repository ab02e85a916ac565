"""What is measured, against whom, and how: every figure of docs/speed.md comes out of here."""
