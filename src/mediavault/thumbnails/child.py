"""The thumbnail process: `python -I -m mediavault.thumbnails.child '<JSON of its task>'`.

Its input is descriptor 0, its output one line of JSON and the picture on descriptor 1. It takes no name of any file,
but for a video the path of the program that decodes it. Everything is given up before the first byte is read.
"""

import json
import os
import sys
from typing import Any

from mediavault.thumbnails import confinement
from mediavault.thumbnails.confinement import Limits

#: Containers by type: a playlist, which could name other files and hosts, is never guessed from the bytes.
DEMUXERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/3gpp": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
}
#: An index may say that its frames lie in other files: those are not opened.
_OF_DEMUXER = {"mov": ("-enable_drefs", "0", "-use_absolute_path", "0"), "matroska": ()}


def main() -> None:
    """Confine this process, then do the one task."""
    task = json.loads(sys.argv[1])
    confinement.die_with_parent()
    limits = Limits(task["memoryBytes"], task["cpuSeconds"], task["wallSeconds"])
    confined = {"network": confinement.leave_network()}
    if task["work"] == "frame":
        _become_decoder(task, limits)
    else:
        _shrink(task, limits, confined)


def _shrink(task: dict[str, Any], limits: Limits, confined: dict[str, bool]) -> None:
    from mediavault.thumbnails import picture  # while it may still open files

    picture.load_decoders()
    confinement.set_limits(limits)
    confinement.leave_root()
    confinement.forbid_processes()
    confined["calls"] = confinement.forbid_calls(confinement.ALL_LISTED)
    try:
        with open(0, "rb", closefd=False) as source:
            small = picture.shrink(source, task["edge"], task["mostPixels"])
    except picture.Refused as refused:
        _answer({"refused": str(refused)})
    except MemoryError:
        _answer({"refused": "decoding it takes more memory than is allowed"})
    else:
        shape = {"contentType": small.content_type, "width": small.width, "height": small.height}
        _answer(shape | {"confined": confined}, small.data)


def _become_decoder(task: dict[str, Any], limits: Limits) -> None:
    """One early frame, by the program that was found. It opens its input once more, which only its owner may do: where
    the vault is root it becomes nobody and keeps the right to read, and else it stays the vault's user."""
    confinement.leave_root_but_read()
    confinement.set_limits(limits)
    confinement.forbid_calls(confinement.DECODER)
    edge, demuxer = task["edge"], DEMUXERS[task["contentType"]]
    scale = f"scale=w='min({edge},iw)':h='min({edge},ih)':force_original_aspect_ratio=decrease"
    os.execve(  # noqa: S606 - no shell, and every argument is ours
        task["program"],
        [
            *("ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-protocol_whitelist", "file"),
            *("-max_pixels", str(task["mostPixels"]), "-f", demuxer, *_OF_DEMUXER[demuxer]),
            *("-an", "-sn", "-dn", "-i", "/dev/fd/0", "-map", "0:v:0", "-frames:v", "1"),
            *("-vf", f"thumbnail=24,{scale}", "-map_metadata", "-1", "-threads", "1", "-filter_threads", "1"),
            *("-c:v", "png", "-f", "image2pipe", "-protocol_whitelist", "pipe", "pipe:1"),
        ],
        {},
    )


def _answer(head: dict[str, Any], body: bytes = b"") -> None:
    message = json.dumps(head).encode() + b"\n" + body
    while message:
        message = message[os.write(1, message) :]


if __name__ == "__main__":
    main()
