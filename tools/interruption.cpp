#include "tools/interruption.hpp"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>

#include "checkpoint/mapped_file.hpp"
#include "checkpoint/temporary_folder.hpp"
#include "tools/exit_status.hpp"

namespace attnsym {
namespace {

std::atomic<pid_t> running_group{0};
std::atomic<pthread_t> watcher{};
std::atomic<bool> is_watched{false};
std::atomic<int> ending_signal{0};  // 0: a file was lost
constexpr int wake_up = SIGUSR1;    // to the watcher

sigset_t only(int signal) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, signal);
  return signals;
}

void say(const char* text) { static_cast<void>(!::write(STDERR_FILENO, text, std::strlen(text))); }

// Signal handlers: what they do is on the short list of what these may do. They may run in any thread, also
// in those that libraries have started before main.

extern "C" void on_ending(int signal) {
  ending_signal = signal;
  pthread_kill(watcher, wake_up);
}

extern "C" void on_bus_error(int signal, siginfo_t* info, void* context) {
  static_cast<void>(context);
  const char* file = mapped_file_at(info->si_addr);
  if (file == nullptr) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  say("attnsym: ");
  say(file);
  say(": became shorter while it was read\n");
  if (!is_watched) _exit(static_cast<int>(ExitStatus::trouble));
  pthread_kill(watcher, wake_up);
  for (;;) pause();  // the number that was asked for is not there
}

// A thread that does what handlers may not.
void watch() {
  const sigset_t awaited = only(wake_up);
  int signal = 0;
  while (sigwait(&awaited, &signal) != 0) {
  }
  const pid_t group = running_group;
  if (group != 0) kill(-group, SIGKILL);
  TemporaryFolder::remove_all();
  const int ending = ending_signal;
  if (ending == 0) _exit(static_cast<int>(ExitStatus::trouble));
  std::signal(ending, SIG_DFL);
  kill(getpid(), ending);
  for (;;) pause();
}

// What was to be ignored, as under nohup, stays ignored.
void handle(int signal) {
  struct sigaction before {};
  sigaction(signal, nullptr, &before);
  if (before.sa_handler != SIG_IGN) std::signal(signal, on_ending);
}

constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP};

}  // namespace

void end_tidily() {
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
  const sigset_t awaited = only(wake_up);
  pthread_sigmask(SIG_BLOCK, &awaited, nullptr);
  try {
    std::thread thread(watch);
    watcher = thread.native_handle();
    is_watched = true;
    thread.detach();
    for (const int signal : ending_signals) handle(signal);
  } catch (const std::system_error&) {
    // No thread can be had; signals end this process at once.
  }
}

void set_running_group(pid_t group) { running_group = group; }

void restore_signals() {
  for (const int signal : {SIGXFSZ, SIGPIPE, SIGBUS}) std::signal(signal, SIG_DFL);
  const sigset_t awaited = only(wake_up);
  pthread_sigmask(SIG_UNBLOCK, &awaited, nullptr);
}

}  // namespace attnsym
