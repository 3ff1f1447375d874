#include "tools/shell.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <thread>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// The process group that is to end with this process; a signal handler may touch nothing else.
volatile sig_atomic_t running_group = 0;

extern "C" void end_with_us(int signal) {
  if (running_group != 0) kill(-static_cast<pid_t>(running_group), SIGKILL);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

// While it lives, a signal that ends this process ends the group too.
class EndsTogether {
 public:
  explicit EndsTogether(pid_t group) {
    running_group = group;
    for (std::size_t i = 0; i < signals.size(); ++i) before_[i] = std::signal(signals[i], end_with_us);
  }
  EndsTogether(const EndsTogether&) = delete;
  EndsTogether& operator=(const EndsTogether&) = delete;
  ~EndsTogether() {
    for (std::size_t i = 0; i < signals.size(); ++i) std::signal(signals[i], before_[i]);
    running_group = 0;
  }

 private:
  static constexpr std::array signals{SIGINT, SIGTERM, SIGHUP};
  std::array<void (*)(int), signals.size()> before_{};
};

// Only what is allowed between fork and exec.
[[noreturn]] void become(const char* command, const char* said) {
  setpgid(0, 0);
  const int input = open("/dev/null", O_RDONLY);
  const int output = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(input, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execl("/bin/sh", "sh", "-c", command, static_cast<char*>(nullptr));
  _exit(127);
}

}  // namespace

std::string in_shell_quotes(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::optional<int> run_in_shell(const std::string& command, const std::filesystem::path& said,
                                double timeout) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(timeout);
  const pid_t child = fork();
  if (child < 0) throw IoError("no process could be started");
  if (child == 0) become(command.c_str(), said.c_str());
  setpgid(child, child);  // here too: whoever comes first
  const EndsTogether together(child);
  int status = 0;
  auto pause = std::chrono::milliseconds(1);
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (Clock::now() >= end) {
      kill(-child, SIGKILL);
      waitpid(child, &status, 0);
      return std::nullopt;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(20));
  }
  kill(-child, SIGKILL);  // what it left running would write to files that are gone
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace attnsym
