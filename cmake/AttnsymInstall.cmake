# find_package(attnsym): targets attnsym::symmetry, attnsym::verify, attnsym::checkpoint, attnsym::nfn and the program attnsym.
include(CMakePackageConfigHelpers)

install(EXPORT attnsymTargets NAMESPACE attnsym:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/attnsym)
configure_package_config_file(cmake/attnsymConfig.cmake.in attnsymConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/attnsym)
write_basic_package_version_file(attnsymConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/attnsymConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/attnsymConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/attnsym)
