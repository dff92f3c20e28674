"""What a thumbnail process gives up before it looks at bytes that strangers chose.

Limits and the system call filter are the kernel's (setrlimit(2), seccomp(2)); a network namespace is taken where the
machine allows it, but sockets are refused either way.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
#: linux/capability.h: the version of `capset`, and what reads files of others; a container may have only the first.
_CAPABILITIES = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWNET = 0x40000000
_CLONE_NEWUSER = 0x10000000
_NOBODY = 65534

#: Classic BPF, linux/bpf_common.h and linux/seccomp.h.
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM = 1
#: On x86-64 the same calls are there a second time, for another size of pointers.
_X32 = 0x40000000

#: Calls by machine: `(audit architecture, {name: number})`, from the kernel's own tables.
_MACHINES = {
    "x86_64": (
        0xC000003E,
        {
            "open": 2,
            "socket": 41,
            "connect": 42,
            "socketpair": 53,
            "fork": 57,
            "vfork": 58,
            "execve": 59,
            "kill": 62,
            "truncate": 76,
            "ftruncate": 77,
            "rename": 82,
            "creat": 85,
            "link": 86,
            "unlink": 87,
            "symlink": 88,
            "chmod": 90,
            "fchmod": 91,
            "ptrace": 101,
            "tkill": 200,
            "tgkill": 234,
            "openat": 257,
            "unlinkat": 263,
            "renameat": 264,
            "linkat": 265,
            "symlinkat": 266,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "renameat2": 316,
            "execveat": 322,
            "bpf": 321,
            "io_uring_setup": 425,
            "pidfd_open": 434,
            "openat2": 437,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "unlinkat": 35,
            "symlinkat": 36,
            "linkat": 37,
            "renameat": 38,
            "truncate": 45,
            "ftruncate": 46,
            "fchmod": 52,
            "openat": 56,
            "ptrace": 117,
            "kill": 129,
            "tkill": 130,
            "tgkill": 131,
            "socket": 198,
            "socketpair": 199,
            "connect": 203,
            "execve": 221,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "renameat2": 276,
            "bpf": 280,
            "execveat": 281,
            "io_uring_setup": 425,
            "pidfd_open": 434,
            "openat2": 437,
        },
    ),
}

#: Everything listed: a picture is decoded with what is open and loaded already.
ALL_LISTED = frozenset(name for _, calls in _MACHINES.values() for name in calls)


#: What a video decoder does without: it must be started, and it opens its input and its libraries, but nothing more.
DECODER = ALL_LISTED - {"open", "openat", "openat2", "execve"}


@dataclass(frozen=True)
class Limits:
    """What a thumbnail process may take at most."""

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: int
    open_files: int = 64


def set_limits(limits: Limits) -> None:
    """The kernel's limits; also an alarm that ends the process when whoever started it is gone. Cannot be raised."""
    _set(resource.RLIMIT_AS, limits.memory_bytes)
    _set(resource.RLIMIT_CPU, limits.cpu_seconds)
    _set(resource.RLIMIT_FSIZE, 0)  # the picture leaves through a pipe; no file is ever written
    _set(resource.RLIMIT_NOFILE, limits.open_files)
    _set(resource.RLIMIT_CORE, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limits.wall_seconds)


def forbid_processes() -> None:
    """No process or thread more. Where the user is root this limit says nothing, and `leave_root` comes first."""
    _set(resource.RLIMIT_NPROC, 0)


def _set(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def die_with_parent() -> None:
    """End with the vault's process, however that ends."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def leave_network() -> bool:
    """A network namespace without anything in it; False where the machine does not permit one."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return any(libc.unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET))


def leave_root() -> None:
    """Be nobody, where the vault runs as root. Files that are open already stay open."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        die_with_parent()  # the kernel forgets that with the old user


def leave_root_but_read() -> bool:
    """Be nobody who may read files of others, where the vault runs as root; else, and where that cannot be, False.

    For a program that opens its input once more. Of all that root may, it keeps this alone, also past its start.
    """
    if os.geteuid() != 0 or sys.platform != "linux":
        return False
    capability = next((each for each in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE) if _may(each)), None)
    if capability is None:  # a root without rights over files: nobody else could read its input
        return False
    _prctl(_PR_SET_KEEPCAPS, 1)
    leave_root()
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITIES, 0))
    kept = 1 << capability
    sets = ctypes.create_string_buffer(struct.pack("6I", kept, kept, kept, 0, 0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities cannot be given up")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)
    return True


def _may(capability: int) -> bool:
    """Whether this process has it."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
        effective = next((line.split()[1] for line in status if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> capability & 1)


def forbid_calls(names: frozenset[str]) -> bool:
    """Let the kernel refuse these system calls, for good; False where there is no filter for this machine."""
    machine = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if machine is None:
        return False
    architecture, calls = machine
    program = _filter(architecture, sorted(calls[name] for name in names & calls.keys()))
    count = len(program) // 8
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", count, ctypes.addressof(code)))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))
    return True


def _filter(architecture: int, numbers: list[int]) -> bytes:
    """The program: another architecture or the other size of pointers ends the process, a listed number is EPERM."""
    steps = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD_WORD, 0, 0, _NUMBER_AT),
        (_JUMP_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
        *((_JUMP_EQUAL, len(numbers) - position, 0, number) for position, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _prctl(option: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    filled = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *filled) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
