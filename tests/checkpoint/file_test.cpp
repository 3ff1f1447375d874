#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "checkpoint/atomic_output.hpp"
#include "checkpoint/file.hpp"
#include "checkpoint/mapped_file.hpp"
#include "checkpoint/sha256.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"
#include "tests/checkpoint/temporary_directory.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using testing::read_text;
using testing::TemporaryDirectory;
using testing::write_text;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

int entry_count(const fs::path& directory) {
  return static_cast<int>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(MappedFile, ShowsTheBytesAndSurvivesMoving) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "hello");
  MappedFile first = MappedFile::open(directory / "file");
  const MappedFile second = std::move(first);
  ASSERT_EQ(second.bytes().size(), 5U);
  EXPECT_EQ(std::memcmp(second.bytes().data(), "hello", 5), 0);
  second.will_need(0, 5);
  second.will_need(4, 1000000);
  second.will_need(99, 1);
}

TEST(MappedFile, OfAnEmptyFileIsEmpty) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "");
  EXPECT_TRUE(MappedFile::open(directory / "file").bytes().empty());
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const TemporaryDirectory directory;
  expect_error<IoError>([&] { MappedFile::open(directory.path()); },
                        {directory.path().string(), "not a regular file"});
  expect_error<IoError>([&] { MappedFile::open(directory / "none"); }, {"none", "No such file"});
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  expect_error<IoError>([&] { MappedFile::open(directory / "fifo"); }, {"fifo", "not a regular file"});
}

TEST(File, CopiesRangesToOtherPlaces) {
  const TemporaryDirectory directory;
  write_text(directory / "from", "0123456789");
  const File from = File::open(directory / "from");
  File to = File::create(directory / "to");
  to.write_at(0, bytes_of("ab"));
  to.copy_from(from, 3, 2, 4);
  EXPECT_EQ(read_text(directory / "to"), "ab3456");
  expect_error<IoError>([&] { to.copy_from(from, 8, 0, 5); }, {"from", "shorter"});
  expect_error<IoError>([&] { File::create(directory / "to"); }, {"to", "cannot create"});
}

TEST(Sha256, AgreesWithTheStandardsExamples) {
  EXPECT_EQ(sha256({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256(bytes_of("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, OfAFileIsThatOfItsBytes) {
  const TemporaryDirectory directory;
  const std::string text(3'000'001, 'x');  // more than two buffers
  write_text(directory / "file", text);
  EXPECT_EQ(sha256_file(directory / "file"), sha256(bytes_of(text)));
  expect_error<IoError>([&] { sha256_file(directory.path()); }, {"not a regular file"});
}

TEST(AtomicOutput, AppearsOnlyWhenCommitted) {
  const TemporaryDirectory directory;
  {
    const AtomicOutput output(directory / "out", Overwrite::No);
    write_text(output.path(), "half");
    EXPECT_FALSE(fs::exists(directory / "out"));
  }
  EXPECT_EQ(entry_count(directory.path()), 0) << "what was not committed is removed";
  write_file_atomically(directory / "out", bytes_of("whole"), Overwrite::No);
  EXPECT_EQ(read_text(directory / "out"), "whole");
  EXPECT_EQ(entry_count(directory.path()), 1);
}

TEST(AtomicOutput, RefusesAnExistingDestinationAtOnce) {
  const TemporaryDirectory directory;
  write_text(directory / "out", "old");
  expect_error<IoError>([&] { AtomicOutput(directory / "out", Overwrite::No); },
                        {"out", "exists; use --force"});
  fs::create_symlink("nowhere", directory / "link");
  expect_error<IoError>([&] { AtomicOutput(directory / "link", Overwrite::No); }, {"exists"});
  write_file_atomically(directory / "out", bytes_of("new"), Overwrite::Yes);
  EXPECT_EQ(read_text(directory / "out"), "new");
}

TEST(AtomicOutput, DoesNotReplaceWhatAppearedMeanwhile) {
  const TemporaryDirectory directory;
  AtomicOutput output(directory / "out", Overwrite::No);
  write_text(output.path(), "mine");
  write_text(directory / "out", "theirs");
  expect_error<IoError>([&] { output.commit(); }, {"out", "File exists"});
  EXPECT_EQ(read_text(directory / "out"), "theirs");
}

TEST(AtomicOutput, SwapsDirectories) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "out");
  write_text(directory / "out/old", "old");
  AtomicOutput output(directory / "out/", Overwrite::Yes);
  fs::create_directory(output.path());
  write_text(output.path() / "new", "new");
  output.commit();
  EXPECT_EQ(read_text(directory / "out/new"), "new");
  EXPECT_FALSE(fs::exists(directory / "out/old"));
  EXPECT_EQ(entry_count(directory.path()), 1);
}

TEST(AtomicOutput, NeedsAParentAndAName) {
  const TemporaryDirectory directory;
  expect_error<IoError>([&] { AtomicOutput(directory / "no/out", Overwrite::No); }, {"no such directory"});
  expect_error<IoError>([&] { AtomicOutput("..", Overwrite::Yes); }, {"not the name"});
  expect_error<IoError>([&] { AtomicOutput("/", Overwrite::Yes); }, {"not the name"});
}

}  // namespace
}  // namespace attnsym
