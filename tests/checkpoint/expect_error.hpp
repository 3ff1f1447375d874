#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace attnsym::testing {

/// Expects action() to throw an Expected whose text contains all the words.
template <class Expected, class Action>
void expect_error(Action action, std::initializer_list<std::string_view> words) {
  try {
    action();
  } catch (const Expected& error) {
    const std::string text = error.what();
    for (const std::string_view word : words) {
      EXPECT_NE(text.find(word), std::string::npos) << "no \"" << word << "\" in: " << text;
    }
    return;
  } catch (const std::exception& error) {
    FAIL() << "another kind of error: " << error.what();
  }
  FAIL() << "no error";
}

}  // namespace attnsym::testing
