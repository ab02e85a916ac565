"""What keeps rclpy's executor alive: fenced callbacks, loading beside it, answers handed to it, the process's end."""
