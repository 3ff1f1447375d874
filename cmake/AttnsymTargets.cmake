# What every target of this project shares: the standard, the include root, and where it is installed.

# attnsym_library(NAME SOURCES...): the static library attnsym_NAME, alias attnsym::NAME, headers under NAME/.
function(attnsym_library name)
  add_library(attnsym_${name} STATIC ${ARGN})
  add_library(attnsym::${name} ALIAS attnsym_${name})
  target_compile_features(attnsym_${name} PUBLIC cxx_std_20)
  if(ATTNSYM_NATIVE)
    target_compile_options(attnsym_${name} PRIVATE -march=native)
  endif()
  target_include_directories(attnsym_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/attnsym>)
  set_target_properties(attnsym_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  # Eigen and Boost.Multiprecision cost every file four seconds without this; symmetry is the first library.
  if(name STREQUAL symmetry)
    target_precompile_headers(attnsym_${name} PRIVATE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/symmetry/scalar.hpp>)
  else()
    target_precompile_headers(attnsym_${name} REUSE_FROM attnsym_symmetry)
  endif()
  install(TARGETS attnsym_${name} EXPORT attnsymTargets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT attnsym)
  install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/attnsym/${name}
          COMPONENT attnsym FILES_MATCHING PATTERN "*.hpp" PATTERN testing EXCLUDE)
endfunction()

# attnsym_test_kit(FOLDERS...): the headers of these folders as the target attnsym::testing, a component of its own,
# because they need RapidCheck and the libraries do not.
function(attnsym_test_kit)
  add_library(attnsym_testing INTERFACE)
  add_library(attnsym::testing ALIAS attnsym_testing)
  target_link_libraries(attnsym_testing INTERFACE attnsym::symmetry attnsym::nfn rapidcheck)
  set_target_properties(attnsym_testing PROPERTIES EXPORT_NAME testing)
  install(TARGETS attnsym_testing EXPORT attnsymTestingTargets)
  foreach(folder ${ARGN})
    install(DIRECTORY ${folder}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/attnsym/${folder}
            COMPONENT testing FILES_MATCHING PATTERN "*.hpp")
  endforeach()
endfunction()

# attnsym_test(NAME LIBS... ): one test program from NAME.cpp beside the caller, one CTest.
function(attnsym_test name)
  add_executable(${name} ${name}.cpp)
  target_link_libraries(${name} PRIVATE ${ARGN} GTest::gtest_main)
  target_precompile_headers(${name} REUSE_FROM test_precompiled)
  add_test(NAME ${name} COMMAND ${name})
  # Threads of OpenBLAS wait for each other, which takes ages where tests run side by side.
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 ENVIRONMENT OPENBLAS_NUM_THREADS=1)
endfunction()
