#pragma once

namespace attnsym {

/// What the program tells its caller, as diff does. tests/tools/ holds the table that every command is tested
/// against.
enum class ExitStatus : int {
  yes = 0,        ///< equivalent, identical, accepted, done
  no = 1,         ///< distinct (a witness is in hand), certificate rejected, a group that measures otherwise
  trouble = 2,    ///< usage, a file, a shape: no answer was attempted
  undecided = 3,  ///< an honest "don't know", with the reason
};

}  // namespace attnsym
