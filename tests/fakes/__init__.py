"""Stand-ins for what lies outside, and the means to run them."""
