#include "tools/shell.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>

#include "symmetry/errors.hpp"
#include "tools/interruption.hpp"

namespace attnsym {
namespace {

using Clock = std::chrono::steady_clock;

// While it lives, a signal that ends this process ends the group too.
class EndsTogether {
 public:
  explicit EndsTogether(pid_t group) { set_running_group(group); }
  EndsTogether(const EndsTogether&) = delete;
  EndsTogether& operator=(const EndsTogether&) = delete;
  ~EndsTogether() { set_running_group(0); }
};

// What a command prints, of which the end is kept.
class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) throw IoError("no pipe could be made");
    ::fcntl(ends_[0], F_SETFL, O_NONBLOCK);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    for (const int end : ends_) ::close(end);
  }

  int entrance() const { return ends_[1]; }

  // Waits until something is printed, or for so long; then takes what there is, but no more than a little:
  // others have things to do, too.
  void take(int milliseconds) {
    pollfd waiting{ends_[0], POLLIN, 0};
    if (::poll(&waiting, 1, milliseconds) <= 0) return;
    std::array<char, 1 << 16> buffer{};
    const ssize_t count = ::read(ends_[0], buffer.data(), buffer.size());
    if (count <= 0) return;
    said_.append(buffer.data(), static_cast<std::size_t>(count));
    constexpr std::size_t kept = 4096;
    if (said_.size() > kept) said_.erase(0, said_.size() - kept);
  }

  const std::string& said() const { return said_; }

 private:
  std::array<int, 2> ends_{-1, -1};
  std::string said_;
};

// Only what is allowed between fork and exec.
[[noreturn]] void become(const std::vector<char*>& words, int output) {
  restore_signals();
  setpgid(0, 0);
  dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execv("/bin/sh", words.data());
  _exit(127);
}

pid_t start(const std::string& command, const std::vector<std::string>& arguments, const Pipe& pipe) {
  std::vector<std::string> all{"sh", "-c", command, "attnsym"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> words;
  for (std::string& word : all) words.push_back(word.data());
  words.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) throw IoError("no process could be started");
  if (child == 0) become(words, pipe.entrance());
  setpgid(child, child);  // here too: whoever comes first
  return child;
}

}  // namespace

std::string in_shell_quotes(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

ShellResult run_in_shell(const std::string& command, const std::vector<std::string>& arguments,
                         double timeout) {
  const auto end = Clock::now() + std::chrono::duration<double>(timeout);
  Pipe pipe;
  const pid_t child = start(command, arguments, pipe);
  const EndsTogether together(child);
  int status = 0;
  int pause = 1;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (Clock::now() >= end) {
      kill(-child, SIGKILL);
      waitpid(child, &status, 0);
      return {std::nullopt, pipe.said()};
    }
    pipe.take(pause);
    pause = std::min(2 * pause, 20);
  }
  kill(-child, SIGKILL);  // what it left running would write to files that are gone
  for (int i = 0; i < 16; ++i) pipe.take(0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), pipe.said()};
}

}  // namespace attnsym
