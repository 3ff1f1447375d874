#pragma once

#include <stdexcept>

namespace attnsym {

/// Base of every exception this project throws for broken input. "No" and "don't know" are values, never
/// exceptions.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Two shapes that should agree do not; the text holds both.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A matrix that has to be invertible is not.
class SingularError : public Error {
 public:
  using Error::Error;
};

/// A file or a text does not follow its format; the text names file, tensor or key, and reason.
class FormatError : public Error {
 public:
  using Error::Error;
};

/// The operating system refused a file operation; the text names the file and the reason.
class IoError : public Error {
 public:
  using Error::Error;
};

}  // namespace attnsym
