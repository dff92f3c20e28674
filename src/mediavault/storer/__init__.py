"""The storer: claims what is pending, stores it, and sweeps up behind everybody."""
