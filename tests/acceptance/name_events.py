"""What happens to one name in a folder, in order, as Linux reports it: finds gaps far too short to be hit by chance."""

import ctypes
import os
import struct

MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
APPEARED, LOST = MOVED_TO | CREATE, MOVED_FROM | DELETE


class NameEvents:
    """Counts appearances and losses of folder/name. An exchange of two names is reported as appeared, then lost."""

    def __init__(self, path):
        self._name = os.fsencode(path.name)
        libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if libc.inotify_add_watch(self._inotify, os.fsencode(path.parent), APPEARED | LOST) < 0:
            raise OSError(ctypes.get_errno(), "inotify is not available")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._inotify)

    def balances(self):
        """Appearances minus losses after each event since the last call; -1 is a moment without the name."""
        found, balance = [], 0
        for mask, name in self._events():
            if name == self._name:
                balance += bool(mask & APPEARED) - bool(mask & LOST)
                found.append(balance)
        return found

    def _events(self):
        try:
            data = os.read(self._inotify, 1 << 20)
        except BlockingIOError:
            return
        header, place = struct.Struct("iIII"), 0
        while place < len(data):
            _, mask, _, length = header.unpack_from(data, place)
            place += header.size
            yield mask, data[place:place + length].rstrip(b"\0")
            place += length
