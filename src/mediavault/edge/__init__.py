"""The edge cache: a bounded local folder of complete copies, and the files that fills are growing."""
