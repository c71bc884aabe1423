"""watchdog's observer on Linux without its queues: its reading thread calls the handlers itself.

That saves two changes of threads, and there is one place that knows which events wait.
"""

from __future__ import annotations

import ctypes
import termios
from time import monotonic
from typing import Any

from watchdog.events import FileSystemEvent
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter, InotifyObserver
from watchdog.observers.inotify_c import InotifyFD

OTHER_HALF_S = 0.001  # the second half of a rename comes within microseconds or never

# It keeps the interpreter's lock, which `fcntl.ioctl` gives up: others would take it.
_ioctl = ctypes.PyDLL(None).ioctl
_ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)


class DirectObserver(InotifyObserver):
    """Calls the handlers in the thread that reads the events."""

    def __init__(self) -> None:
        self._inotify_fd: _Reader = _Reader(self)
        # "Full" events tell a moved-in (complete) file from a created (still empty) one.
        BaseObserver.__init__(self, _Emitter, inotify_fd=self._inotify_fd, observer=self)
        self.unread = self._inotify_fd.unread
        self._inotify_fd.start()

    def hand_on(self, event: FileSystemEvent, watch: Any) -> None:
        for handler in tuple(self._handlers.get(watch, ())):
            handler.dispatch(event)


class _Reader(InotifyFD):
    def __init__(self, observer: DirectObserver) -> None:
        super().__init__()
        self._observer = observer
        self._busy = False
        self._waiting = ctypes.c_int()
        self._waiting_at = ctypes.byref(self._waiting)

    def unread(self) -> bool:
        """Whether events wait that the handlers have not been called with; each run asks."""
        if self._closed:
            return False
        # In this order: what has just left the kernel is being handed on.
        _ioctl(self._inotify_fd, termios.FIONREAD, self._waiting_at)
        return self._waiting.value > 0 or self._busy

    def _check_inotify_fd(self) -> bool:
        self._busy = ready = super()._check_inotify_fd()
        return ready

    def run(self) -> None:
        try:
            while self.should_keep_running():
                for event in self.read_events():
                    self.handle_event(event)
                for emitter in tuple(self._observer.emitters):
                    if isinstance(emitter, _Emitter):
                        emitter.hand_on(self._poller)
                self._busy = False
        finally:
            self._busy = False

    def _add_callback(self, path: bytes, mask: Any, callback: Any, id_: Any) -> Any:
        # As it was, without a warning of a folder that is watched already: each nested new folder
        # is, and where warnings are errors it would end the thread.
        watch = self._get_or_create_watch(path, mask)
        watch.callbacks[id_] = callback
        return watch.wd


class _Emitter(InotifyFullEmitter):
    def __init__(self, *args: Any, observer: DirectObserver, **options: Any) -> None:
        super().__init__(*args, **options)
        self._observer = observer

    def queue_events(self, timeout: float, *, full_events: bool = False) -> None:
        self.stopped_event.wait()

    def queue_event(self, event: FileSystemEvent) -> None:
        if self._event_filter is None or isinstance(event, tuple(self._event_filter)):
            self._observer.hand_on(event, self.watch)

    def hand_on(self, poller: Any) -> None:
        """Hand on the events that were read; a half of a rename waits a moment for the other."""
        group = self._inotify
        events = group._move_event_grouper._queue._queue if group is not None else ()
        while events:
            event, read_at, is_half = events[0]
            is_fresh = monotonic() - read_at < OTHER_HALF_S
            if is_half and len(events) == 1 and is_fresh and poller.poll(OTHER_HALF_S * 1e3):
                return
            events.popleft()
            self.build_and_queue_event(event)
