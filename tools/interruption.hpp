#pragma once

#include <sys/types.h>

namespace attnsym {

/// From here on signals that end this process leave nothing half done: INT, TERM and HUP first end what it
/// has started and remove what it has not finished; a mapped file that becomes shorter (SIGBUS) ends it with
/// a message and status 2 instead of a core dump; and writing to what takes no more (XFSZ, PIPE) fails as on
/// a full disk. To be called once, before threads are started.
void end_tidily();

/// The process group that has to end with this process; 0 for none.
void set_running_group(pid_t group);

/// For a child between fork and exec: the signals as they were before end_tidily.
void restore_signals();

}  // namespace attnsym
