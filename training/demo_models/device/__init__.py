"""What lets a GPU train the demo models without waiting: pictures on the device, questions made ahead, a clock."""
