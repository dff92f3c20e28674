"""What leaves a vault whole, and comes in again."""
