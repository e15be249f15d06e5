"""Taking the beginning out of an open file: fallocate(2) and the map of its blocks.

FALLOC_FL_COLLAPSE_RANGE (ext4, xfs) removes whole blocks under the lock of the file, so an append is before or after it,
never within. FALLOC_FL_PUNCH_HOLE (also tmpfs, btrfs, NFS 4.2) gives the blocks back and leaves offsets as they are.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import Literal

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE = 0x01, 0x02, 0x08
# linux/fs.h: _IOWR('f', 11, struct fiemap); one extent is enough. FIEMAP_FLAG_SYNC writes out first.
FIEMAP, FIEMAP_SYNC = 0xC020660B, 0x1
UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ETXTBSY)
Way = Literal["collapse", "punch"]
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def block_size(descriptor: int) -> int:
    """Blocks of the file system that holds the file."""
    return os.fstatvfs(descriptor).f_bsize


def physical(descriptor: int, offset: int) -> int | None:
    """Where the byte at this offset lies on the volume; None where the file system does not tell, or in a hole."""
    buffer = bytearray(struct.pack("=QQLLLL", offset, 1, FIEMAP_SYNC, 0, 1, 0) + bytes(56))
    try:
        fcntl.ioctl(descriptor, FIEMAP, buffer)
    except OSError:
        return None
    found = struct.unpack_from("=L", buffer, 20)[0]
    logical, where = struct.unpack_from("=QQ", buffer, 32)
    return int(where + offset - logical) if found and where and logical <= offset else None


def data_from(descriptor: int) -> int | None:
    """Offset of the first byte that is no hole; None when there is none."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError:
        return None


def collapse(descriptor: int, length: int) -> bool:
    """Remove so many bytes, whole blocks, from the beginning; False when the file system cannot."""
    return _fallocate(descriptor, COLLAPSE_RANGE, 0, length)


def punch(descriptor: int, length: int) -> bool:
    """Give the blocks of the first bytes back; they read as zeros from then on. False when the file system cannot."""
    return _fallocate(descriptor, PUNCH_HOLE | KEEP_SIZE, 0, length)


def _fallocate(descriptor: int, mode: int, offset: int, length: int) -> bool:
    while _LIBC.fallocate(descriptor, mode, offset, length):
        number = ctypes.get_errno()
        if number == errno.EINTR:
            continue
        if number in UNSUPPORTED:
            return False
        raise OSError(number, os.strerror(number))
    return True
