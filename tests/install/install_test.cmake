# Installs BUILD_DIR to fresh prefixes, component by component, and builds and runs strangers' projects against them.
# cmake -D BUILD_DIR=... -D WORK_DIR=... -D CXX_COMPILER=... -D CXX_FLAGS=... -D GENERATOR=... -P install_test.cmake
cmake_minimum_required(VERSION 3.22)
set(here ${CMAKE_CURRENT_LIST_DIR})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "failed (${status}): ${ARGN}")
  endif()
endfunction()

# expect_refusal(TEXT COMMAND...): the command fails and says so.
function(expect_refusal text)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status ERROR_VARIABLE said OUTPUT_QUIET)
  string(REGEX REPLACE "[ \n]+" " " said "${said}")
  if(status EQUAL 0 OR NOT said MATCHES "${text}")
    message(FATAL_ERROR "not refused with '${text}' (${status}): ${ARGN}\n${said}")
  endif()
endfunction()

function(install_component name prefix)
  run(${CMAKE_COMMAND} --install ${BUILD_DIR} --component ${name} --prefix ${WORK_DIR}/${prefix})
endfunction()

# configure(SOURCE PREFIX OPTIONS...): in `command`, how to configure a project against what is installed there.
function(configure source prefix)
  get_filename_component(name ${source} NAME)
  set(command ${CMAKE_COMMAND} -S ${source} -B ${WORK_DIR}/build/${name} -G ${GENERATOR} ${ARGN}
      -D CMAKE_PREFIX_PATH=${WORK_DIR}/${prefix} -D CMAKE_CXX_COMPILER=${CXX_COMPILER} -D CMAKE_CXX_FLAGS=${CXX_FLAGS}
      PARENT_SCOPE)
endfunction()

function(build_and_run source prefix)
  get_filename_component(name ${source} NAME)
  configure(${source} ${prefix} ${ARGN})
  run(${command})
  run(${CMAKE_COMMAND} --build ${WORK_DIR}/build/${name} --parallel 1)
  run(${WORK_DIR}/build/${name}/${name})
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
set(no_rapidcheck -D CMAKE_DISABLE_FIND_PACKAGE_rapidcheck=ON)

# The kit alone: its headers and targets and nothing else.
install_component(testing kit)
file(GLOB_RECURSE files RELATIVE ${WORK_DIR}/kit ${WORK_DIR}/kit/*)
list(FILTER files EXCLUDE REGEX "^include/attnsym/(verify|nfn)/testing/[a-z_]+\\.hpp$|/attnsymTestingTargets\\.cmake$")
if(files OR NOT EXISTS ${WORK_DIR}/kit/include/attnsym/verify/testing/expect_equivariant.hpp)
  message(FATAL_ERROR "the component testing is not the test kit: ${files}")
endif()

# The rest alone: no test framework is asked for, and the kit is missed by name.
install_component(attnsym plain)
run(${WORK_DIR}/plain/bin/attnsym --version)
build_and_run(${here}/stranger plain ${no_rapidcheck})
configure(${here}/with_kit plain)
expect_refusal("test kit is not installed" ${command})

# All of it.
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/all)
configure(${here}/with_kit all ${no_rapidcheck})
expect_refusal("rapidcheck" ${command})
file(REMOVE_RECURSE ${WORK_DIR}/build/with_kit)
build_and_run(${here}/with_kit all)
build_and_run(${here}/../../examples/own_layer all)
