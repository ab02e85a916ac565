"""Speech to commands: audio in, the texts of spoken sentences out, and at once word of a "stop".

`ear.py` is the whole of it without I/O; `process/` runs it with an engine in a process of its own and keeps
that process alive.
Covered: one speaker at a time, commands of up to a quarter of a minute, a recogniser that crashes or hangs.
Not covered: who speaks, echo of the robot's own voice, several microphones.
"""
