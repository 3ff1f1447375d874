# find_package(attnsym): targets attnsym::symmetry, attnsym::verify, attnsym::checkpoint, attnsym::nfn and the program attnsym.
# find_package(attnsym COMPONENTS testing): the test kit attnsym::testing besides; this one looks for RapidCheck.
# They are installed as the components `attnsym` and `testing`; the second is of use where the first is, too.
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/attnsym)

install(EXPORT attnsymTargets NAMESPACE attnsym:: DESTINATION ${package} COMPONENT attnsym)
install(EXPORT attnsymTestingTargets NAMESPACE attnsym:: DESTINATION ${package} COMPONENT testing)
configure_package_config_file(cmake/attnsymConfig.cmake.in attnsymConfig.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(attnsymConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/attnsymConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/attnsymConfigVersion.cmake
  DESTINATION ${package} COMPONENT attnsym)
