# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and replacing files that belong to somebody else: whole or not at all, with all their properties."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shlex
import stat
import struct
import tempfile
import time
from collections.abc import Callable, Iterator

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

REMEDIES = {
    errno.ENOENT: "Check the path",
    errno.EACCES: "Run as a user that may read and write it (become: true)",
    errno.EPERM: "Run as the owner of the file or as root (become: true)",
    errno.EISDIR: "Name a file, not a directory",
    errno.ENOTDIR: "Check the path",
    errno.ELOOP: "This link leads back to itself; name the file itself",
    errno.EBUSY: "It is a mount point of its own; change it where it is mounted from, or mount its folder instead",
    errno.ENOSPC: "Free some space on that file system",
    errno.EDQUOT: "Free some space within the quota",
    errno.EROFS: "The file system is mounted read-only; remount it or name another path",
}
NO_INODES = "That file system can hold no more files (df -i); remove some there"
CLOSED_FOLDER = (
    "It is replaced by a new file, so its folder has to be writable as well; run as such a user (become: true)"
)
KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
ACL = "system.posix_acl_access"
# They hold for the old content or the old inode only.
NOT_KEPT = ("security.capability", "security.evm", "security.ima")
# linux/fs.h: FS_IOC_GETFLAGS is _IOR('f', 1, long); chattr's attributes i and a.
GET_FLAGS = 0x80006601 | struct.calcsize("l") << 16
FORBIDDING = {0x10: "i", 0x20: "a"}
LOCK_SECONDS = 60.0
CHANGING = f"another run has been changing files in this folder for more than {LOCK_SECONDS:.0f} seconds"
COPY = r"\d{8}T\d{6}\.\d{6}Z\.bak"


def problem(error: OSError, path: str, verb: str) -> HotfixError:
    """An operating system's error as the sentence shown to the operator."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = REMEDIES.get(error.errno or 0)
    if error.errno == errno.ENOSPC and _out_of_inodes(path):
        remedy = NO_INODES
    return HotfixError(f"cannot {verb} this file: {reason}", path=path, remedy=remedy)


def _out_of_inodes(path: str) -> bool:
    """Whether the file system is full of files rather than of bytes; some count no files and say 0 of 0."""
    try:
        info = os.statvfs(os.path.dirname(os.path.realpath(path)))
    except OSError:
        return False
    return info.f_files > 0 and info.f_favail == 0


def read_bytes(path: str) -> bytes:
    """The content of a file.

    :raises HotfixError: naming the file, the reason and the remedy; also for a pipe or a device, which is not read.
    """
    try:
        # O_NONBLOCK: to open a named pipe waits for its writer, else for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            _require_regular(os.fstat(stream.fileno()), path)
            return stream.read()
    except OSError as error:
        if error.errno == errno.ENOENT and os.path.islink(path):
            raise _dangling(path) from error
        raise problem(error, path, "read") from error


def write_atomic(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content by temporary file, fsync and rename: a reader sees the old or the new, never half.

    Owner, group, mode and extended attributes (hence ACLs) of an existing file are kept, and a symbolic link stays a
    link: the file that it points to is replaced. To change what was read before, use :class:`Edit`.

    :param mode: the permissions of a file that does not exist yet.
    :raises HotfixError: naming the file, the reason and the remedy; the file is then as it was.
    """
    real = os.path.realpath(path)
    _require_replaceable(path, real)
    try:
        _put(real, data, lambda target: _copy_properties(real, target, mode))
        fsync_folder(os.path.dirname(real))
    except OSError as error:
        raise problem(error, path, "write") from error


class Edit:
    """Files that one run changes, held against other runs from before they are read until they are replaced.

    A folder is locked rather than a file: each replaced file is another inode, and a file may not be there yet. The
    lock goes with the process and leaves nothing behind. Who does not know of it, such as a person with an editor, is
    noticed when the file is replaced.

    :param paths: the files; those in other folders can be added with :meth:`hold`.
    :param check: check mode: whether files could be replaced is found out, nothing is locked or written.
    """

    def __init__(self, *paths: str, check: bool = False) -> None:
        self.paths = paths
        self.check = check
        self._held: dict[tuple[int, int], int] = {}

    def __enter__(self) -> Edit:
        try:
            self.hold(*self.paths)
        except HotfixError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        while self._held:
            os.close(self._held.popitem()[1])

    def hold(self, *paths: str) -> None:
        """Wait until no other run edits files in the folders of these, and keep it so.

        What a killed run left beside them is removed. A folder in which nothing may be written needs no lock.

        :raises HotfixError: when another run goes on for too long.
        """
        for path in paths if not self.check else ():
            while True:
                folder = _folder(os.path.realpath(path))
                info = os.stat(folder)
                if (info.st_dev, info.st_ino) in self._held or not os.access(folder, os.W_OK | os.X_OK):
                    break
                # Once more afterwards: another run may have made the folder in the meantime.
                self._held[info.st_dev, info.st_ino] = lock_folder(
                    folder, LOCK_SECONDS, CHANGING, "Run again once it has ended; lslocks shows it"
                )
            remove_leftovers(path)

    def require(self, path: str) -> str:
        """Find out, changing nothing, whether :meth:`replace` could replace or make a file.

        :returns: the file itself, behind all links.
        :raises HotfixError: naming the file, the reason and the remedy.
        """
        real = os.path.realpath(path)
        if os.path.islink(path) and not os.path.lexists(real):
            raise _dangling(path)
        _require_replaceable(path, real)
        _require_one_name(path, real)
        return real

    def replace(
        self, path: str, before: bytes | None, data: bytes, *, mode: int = 0o644, keep: int | None = None
    ) -> str | None:
        """Replace a file as :func:`write_atomic` does, if it still is as it was read; in check mode see if it could be.

        :param before: the content as it was read; ``None``: there was no such file.
        :param mode: the permissions of a file that does not exist yet.
        :param keep: copy the file beside itself first, as ``<name>.<UTC time>.bak``, readable by its owner only, and
            let this many such copies stay. ``None``: no copy.
        :returns: the path of the copy.
        :raises HotfixError: naming the file, the reason and the remedy; the file is then as it was, or as somebody else
            has made it.
        """
        if keep is not None and keep < 1:
            raise HotfixError(f"backup_keep is {keep}", remedy="Give 1 or more, or set backup: false")
        self.hold(path)
        real = self.require(path)
        if self.check:
            return None
        _require_unchanged(path, real, before)
        copy = None
        try:
            if keep is not None and before is not None:
                copy = _copy(real, before)
            _put(
                real,
                data,
                lambda target: _copy_properties(real, target, mode),
                lambda: _require_unchanged(path, real, before),
            )
        except (OSError, HotfixError) as error:
            if copy is not None:
                _forget(copy)
            raise error if isinstance(error, HotfixError) else problem(error, path, "write") from error
        fsync_folder(os.path.dirname(real))
        if copy is not None and keep is not None:
            _prune(real, copy, keep)
        return copy


def lock(descriptor: int, seconds: float) -> None:
    """Lock an open file or folder for this process alone.

    :param seconds: how long to wait for another process.
    :raises BlockingIOError: when it has not let go of it by then.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.02)


def lock_folder(folder: str, seconds: float, busy: str, remedy: str) -> int:
    """Lock a folder for this process alone; it is let go of when the open file that is returned is closed.

    :param seconds: how long to wait for another process.
    :param busy: what is said when that has not let go of it by then.
    :param remedy: what to do about it.
    :raises HotfixError: then, and when the folder cannot be locked at all.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise problem(error, folder, "lock") from error
    try:
        lock(descriptor, seconds)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise HotfixError(busy, path=folder, remedy=remedy) from error
        raise problem(error, folder, "lock") from error
    return descriptor


def _folder(real: str) -> str:
    """The folder of a file; the nearest one that exists when that is missing."""
    folder = os.path.dirname(real)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def remove_leftovers(path: str) -> None:
    """Remove what a killed run left beside ``path``, its copy included; what a living process still writes stays."""
    folder, name = os.path.split(os.path.realpath(path))
    left = re.compile(rf"\.{re.escape(name)}(\.{COPY})?\.[a-z0-9_]{{8}}\.tmp")
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            if left.fullmatch(entry):
                _remove_unless_in_use(os.path.join(folder, entry))


def _remove_unless_in_use(path: str) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            lock(descriptor, 0)
            os.unlink(path)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def temporary_beside(path: str) -> Iterator[tuple[int, str]]:
    """A new file in the folder of ``path``, open and readable by its owner only; removed at the end unless renamed.

    It is locked as long as its process lives: by that :func:`remove_leftovers` knows it.

    :raises OSError: when it cannot be made.
    """
    folder, name = os.path.split(os.path.realpath(path))
    while True:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
        if _kept(descriptor):
            break
        os.close(descriptor)
    try:
        yield descriptor, temporary
    finally:
        _forget(temporary)
        os.close(descriptor)


def _kept(descriptor: int) -> bool:
    """Lock a new file; false when a run that cleans up got hold of it first."""
    try:
        lock(descriptor, 0)
    except BlockingIOError:
        return False
    except OSError:
        return True  # this file system has no locks, and then nobody cleans up either
    return os.fstat(descriptor).st_nlink > 0


def _put(real: str, data: bytes, prepare: Callable[[int], None], last_look: Callable[[], None] = lambda: None) -> None:
    """Put a new file in the place of ``real``.

    :param prepare: gives the open file its properties.
    :param last_look: called at the last moment; it raises to stop.
    """
    with temporary_beside(real) as (descriptor, temporary):
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(data)
        prepare(descriptor)
        os.fsync(descriptor)
        last_look()
        os.replace(temporary, real)


def _copy(real: str, data: bytes) -> str:
    """Write a copy that only the owner of the file can read, from its first moment on."""
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    copy = f"{real}.{stamp}.{int(now % 1 * 1e6):06d}Z.bak"
    info = os.stat(real)

    def give(target: int) -> None:
        with contextlib.suppress(PermissionError):
            os.fchown(target, info.st_uid, info.st_gid)

    _put(copy, data, give)
    return copy


def _prune(real: str, copy: str, keep: int) -> None:
    """Remove older copies of a file, and nothing else; the new one stays even if the clock was set back."""
    folder, name = os.path.split(real)
    ours = re.compile(rf"{re.escape(name)}\.{COPY}")
    others = sorted(entry for entry in os.listdir(folder) if ours.fullmatch(entry) and entry != os.path.basename(copy))
    for old in others[: max(len(others) - (keep - 1), 0)]:
        _forget(os.path.join(folder, old))


def _forget(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _require_regular(info: os.stat_result, path: str) -> None:
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, path)
    if kind != stat.S_IFREG:
        raise HotfixError(
            f"this is no file but {KINDS.get(kind, 'something else')}", path=path, remedy="Name a regular file"
        )


def _require_replaceable(path: str, real: str) -> None:
    """Find out, changing nothing, whether a file can be replaced or made."""
    try:
        folder = os.path.dirname(real)
        if not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, folder)
        _require_no_attribute(path, folder, "its folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            raise OSError(errno.EROFS if read_only else errno.EACCES, folder)
        with contextlib.suppress(FileNotFoundError):
            info = os.stat(real)
            _require_regular(info, path)
            _require_no_attribute(path, real, "it")
            if os.geteuid() not in (0, info.st_uid):
                raise PermissionError(errno.EPERM, real)
    except PermissionError as error:
        found = problem(error, path, "write")
        if error.errno == errno.EACCES and os.access(real, os.W_OK):
            found = HotfixError(found.message, path=path, remedy=CLOSED_FOLDER)
        raise found from error
    except OSError as error:
        raise problem(error, path, "write") from error


def _require_no_attribute(path: str, item: str, what: str) -> None:
    """Refuse what even root may not replace; EPERM alone would say to become root."""
    flags = bytearray(8)
    with contextlib.suppress(OSError):
        descriptor = os.open(item, os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.ioctl(descriptor, GET_FLAGS, flags)
        finally:
            os.close(descriptor)
    for bit, letter in FORBIDDING.items():
        if struct.unpack_from("i", flags)[0] & bit:
            raise HotfixError(
                f"cannot write this file: {what} has the attribute {letter} (lsattr)",
                path=path,
                remedy=f"Take it off with chattr -{letter} {item}",
            )


def _require_one_name(path: str, real: str) -> None:
    # A hard link may be a shared file, which should change with it, or a copy made by cp -al, which must not: only
    # the operator knows. To write into the file instead would leave half of it after a kill.
    with contextlib.suppress(FileNotFoundError):
        names, name = os.stat(real).st_nlink, shlex.quote(real)
        if names > 1:
            raise HotfixError(
                f"this file has {names} names (hard links), and a new file in its place would leave the others with "
                "the old content",
                path=path,
                remedy=f"Cut it loose with cp -p {name} {name}.new && mv {name}.new {name}, or make the others "
                "symbolic links to it",
            )


def _require_unchanged(path: str, real: str, before: bytes | None) -> None:
    there = os.path.lexists(path)
    if os.path.realpath(path) != real or there != (before is not None) or (there and read_bytes(path) != before):
        raise HotfixError("somebody else changed this file meanwhile", path=path, remedy="It is left so; run again")


def _dangling(path: str) -> HotfixError:
    return HotfixError(
        f"this link points to {os.path.realpath(path)}, which does not exist",
        path=path,
        remedy="Make that file, or remove the link",
    )


def _copy_properties(source: str, target: int, mode: int) -> None:
    """Give the open file ``target`` the owner, mode and extended attributes of ``source``, else ``mode``."""
    try:
        info = os.stat(source)
    except FileNotFoundError:
        os.fchmod(target, mode)
        return
    own = os.fstat(target)
    if (info.st_uid, info.st_gid) != (own.st_uid, own.st_gid):
        os.fchown(target, info.st_uid, info.st_gid)
    names = _extended_attributes(source)
    if ACL not in names and ACL in _extended_attributes(target):
        # Taken over from the folder's default; with the file's mode it would let others in.
        os.removexattr(target, ACL)
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    for name in names:
        if name not in NOT_KEPT:
            _copy_attribute(source, target, name)


def _copy_attribute(source: str, target: int, name: str) -> None:
    try:
        os.setxattr(target, name, os.getxattr(source, name))
    except OSError:
        # Labels of a security system are not everybody's to set; it labels new files itself.
        if name == ACL or name.startswith("user."):
            raise


def _extended_attributes(path: str | int) -> list[str]:
    try:
        return os.listxattr(path)
    except (AttributeError, OSError):
        return []


def fsync_folder(folder: str) -> None:
    """Make the names in a folder last: a rename is on the disk only after this.

    :raises HotfixError: when the disk fails.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise problem(error, folder, "sync") from error
