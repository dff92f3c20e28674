"""Whether everything is there and right, and what happens where it is not."""
