"""What is true of media vaults everywhere: pure rules, no I/O, no clock."""
