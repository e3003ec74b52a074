# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and replacing files that belong to somebody else: whole or not at all, with all their properties."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import stat
import tempfile
import time

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

REMEDIES = {
    errno.ENOENT: "Check the path",
    errno.EACCES: "Run as a user that may read and write it (become: true)",
    errno.EPERM: "Run as the owner of the file or as root (become: true)",
    errno.EISDIR: "Name a file, not a directory",
    errno.ENOTDIR: "Check the path",
    errno.ENOSPC: "Free some space on that file system",
    errno.EDQUOT: "Free some space within the quota",
    errno.EROFS: "The file system is mounted read-only; remount it or name another path",
}


def problem(error: OSError, path: str, verb: str) -> HotfixError:
    """An operating system's error as the sentence shown to the operator."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return HotfixError(f"cannot {verb} this file: {reason}", path=path, remedy=REMEDIES.get(error.errno or 0))


def read_bytes(path: str) -> bytes:
    """The content of a file.

    :raises HotfixError: naming the file, the reason and the remedy.
    """
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise problem(error, path, "read") from error


def write_atomic(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content by temporary file, fsync and rename: a reader sees the old or the new, never half.

    Owner, group, mode and extended attributes (hence ACLs) of an existing file are kept, and a symbolic link stays a
    link: the file that it points to is replaced.

    :param mode: the permissions of a file that does not exist yet.
    :raises HotfixError: naming the file, the reason and the remedy; the file is then as it was.
    """
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(real)}.", suffix=".tmp", dir=folder)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            _copy_properties(real, stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, real)
        temporary = None
        fsync_folder(folder)
    except OSError as error:
        raise problem(error, path, "write") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def remove_leftovers(path: str) -> None:
    """Remove what a killed :func:`write_atomic` left beside ``path``. Only while nobody else writes there."""
    folder, name = os.path.split(os.path.realpath(path))
    left = re.compile(rf"\.{re.escape(name)}\.[a-z0-9_]{{8}}\.tmp")
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            if left.fullmatch(entry):
                os.unlink(os.path.join(folder, entry))


def backup(path: str, *, keep: int = 5) -> str:
    """Copy a file beside itself as ``<name>.<UTC time>.bak``, readable by its owner only, and prune older copies.

    :param keep: how many copies stay, the new one included.
    :returns: the path of the copy.
    :raises HotfixError: when the file cannot be read or the copy not written.
    """
    real = os.path.realpath(path)
    data = read_bytes(real)
    now = time.time()
    copy = f"{real}.{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now % 1 * 1e6):06d}Z.bak"
    write_atomic(copy, data, mode=0o600)
    info = os.stat(real)
    with contextlib.suppress(PermissionError):
        os.chown(copy, info.st_uid, info.st_gid)
    for old in sorted(glob.glob(f"{glob.escape(real)}.*Z.bak"))[: -max(keep, 1)]:
        with contextlib.suppress(OSError):
            os.unlink(old)
    return copy


def _copy_properties(source: str, target: int, mode: int) -> None:
    """Give the open file ``target`` the owner, mode and extended attributes of ``source``, else ``mode``."""
    try:
        info = os.stat(source)
    except FileNotFoundError:
        os.fchmod(target, mode)
        return
    if (info.st_uid, info.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(target, info.st_uid, info.st_gid)
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    if hasattr(os, "listxattr"):
        for name in _extended_attributes(source):
            with contextlib.suppress(OSError):
                os.setxattr(target, name, os.getxattr(source, name))


def _extended_attributes(path: str) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError:
        return []


def fsync_folder(folder: str) -> None:
    """Make the names in a folder last: a rename is on the disk only after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
