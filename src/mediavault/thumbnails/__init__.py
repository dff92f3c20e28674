"""Thumbnails made from stored bytes: in a process of their own that may do next to nothing.

`making` starts the process and believes nothing it says; `child` is that process, `confinement` what it gives up before
it looks at the first byte, `picture` the decoding.
"""
