# What `cmake --install` and `cpack -G TGZ` (or the target "package") take along.
#
# No installed file names the prefix, so the whole may be moved, or unpacked anywhere. Components, each
# for `cmake --install build --component NAME`: static, shared, devel (headers, find_package, pkg-config),
# guest, tools, doc.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

foreach(folder LIBDIR INCLUDEDIR DATADIR BINDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${folder}}")
    message(FATAL_ERROR "CMAKE_INSTALL_${folder} must be relative to the prefix, or the package could not be moved")
  endif()
endforeach()

set(realm_generated ${PROJECT_BINARY_DIR}/package)
set(realm_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/realm)
set(realm_pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(realm_guest_dir ${CMAKE_INSTALL_DATADIR}/realm/guest)

# ---- libraries ----------------------------------------------------------------------------------

install(FILES ${realm_static} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT static)

file(MAKE_DIRECTORY ${realm_generated})
if(MINGW)
  # The library beside the programs, where Windows looks for it; what the linker reads beside the other one.
  install(PROGRAMS ${realm_shared} DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT shared)
  install(FILES ${realm_import} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT shared)
  set(realm_shared_dir ${CMAKE_INSTALL_BINDIR})
else()
  # librealm.so (for the linker) -> librealm.so.0 (for the loader) -> librealm.so.0.1.0 (the file)
  set(realm_linker_name ${CMAKE_SHARED_LIBRARY_PREFIX}realm${CMAKE_SHARED_LIBRARY_SUFFIX})
  file(CREATE_LINK ${realm_shared_file} ${realm_generated}/${realm_shared_name} SYMBOLIC)
  file(CREATE_LINK ${realm_shared_name} ${realm_generated}/${realm_linker_name} SYMBOLIC)
  install(PROGRAMS ${realm_shared} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT shared
    RENAME ${realm_shared_file})
  install(FILES ${realm_generated}/${realm_shared_name} ${realm_generated}/${realm_linker_name}
    DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT shared)
  set(realm_shared_dir ${CMAKE_INSTALL_LIBDIR})
endif()

# With `cmake --install --strip`, and in the archive: without the debug information of Rust's standard library, which is
# a third of it all. CMake strips only what it has built itself, the tools.
if(CMAKE_STRIP)
  foreach(kind IN ITEMS static shared)
    set(realm_stripped ${CMAKE_INSTALL_LIBDIR}/librealm${CMAKE_STATIC_LIBRARY_SUFFIX})
    if(kind STREQUAL "shared")
      set(realm_stripped ${realm_shared_dir}/${realm_shared_file})
    endif()
    install(CODE "
      if(CMAKE_INSTALL_DO_STRIP)
        execute_process(COMMAND \"${CMAKE_STRIP}\" -S
          \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${realm_stripped}\"
          COMMAND_ERROR_IS_FATAL ANY)
      endif()" COMPONENT ${kind})
  endforeach()
endif()

# ---- for compilers ------------------------------------------------------------------------------

file(GLOB realm_headers CONFIGURE_DEPENDS ${realm_root}include/*)
install(FILES ${realm_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT devel)

set(realm_libdir ${CMAKE_INSTALL_LIBDIR})
set(realm_includedir ${CMAKE_INSTALL_INCLUDEDIR})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/realm-config.cmake.in
  ${realm_generated}/realm-config.cmake
  INSTALL_DESTINATION ${realm_cmake_dir}
  PATH_VARS realm_libdir realm_shared_dir realm_includedir realm_guest_dir)
# A greater minor version only adds, from 0.1 on.
write_basic_package_version_file(${realm_generated}/realm-config-version.cmake
  COMPATIBILITY SameMajorVersion)
install(FILES ${realm_generated}/realm-config.cmake ${realm_generated}/realm-config-version.cmake
  DESTINATION ${realm_cmake_dir} COMPONENT devel)

# pkg-config: the prefix from where the file lies, and linker options for what the CMake targets name.
file(RELATIVE_PATH realm_prefix_from_pc
  ${CMAKE_INSTALL_PREFIX}/${realm_pkgconfig_dir} ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" realm_prefix_from_pc "${realm_prefix_from_pc}")
set(realm_private_libs ${CMAKE_THREAD_LIBS_INIT})
if(NOT realm_private_libs)
  set(realm_private_libs -pthread) # in the C library itself; harmless, and right for older ones
endif()
foreach(library IN LISTS CMAKE_DL_LIBS)
  string(APPEND realm_private_libs " -l${library}")
endforeach()
string(APPEND realm_private_libs " -lm")
if(UNIX AND NOT APPLE)
  string(APPEND realm_private_libs " -Wl,--exclude-libs,librealm.a")
endif()
if(MINGW)
  list(TRANSFORM realm_static_needs PREPEND "-l" OUTPUT_VARIABLE realm_private_libs)
  list(JOIN realm_private_libs " " realm_private_libs)
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/realm.pc.in ${realm_generated}/realm.pc @ONLY)
install(FILES ${realm_generated}/realm.pc DESTINATION ${realm_pkgconfig_dir} COMPONENT devel)
# Linkers prefer a shared library where both are found by -lrealm. This one names the file, and comes with it.
configure_file(${CMAKE_CURRENT_LIST_DIR}/realm-static.pc.in ${realm_generated}/realm-static.pc @ONLY)
install(FILES ${realm_generated}/realm-static.pc DESTINATION ${realm_pkgconfig_dir} COMPONENT static)

install(FILES ${realm_root}ports/posix/valgrind.supp DESTINATION ${CMAKE_INSTALL_DATADIR}/realm COMPONENT devel)

# ---- the rest -----------------------------------------------------------------------------------

install(FILES ${realm_root}guest/realm_guest.wasm ${realm_root}guest/realm_guest_slim.wasm
  DESTINATION ${realm_guest_dir} COMPONENT guest)
if(REALM_BUILD_TOOLS)
  install(TARGETS realm-run realm-tokenize realm-bench
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
endif()
install(FILES ${realm_root}LICENSE-MIT ${realm_root}LICENSE-APACHE ${realm_root}LICENSE-THIRD-PARTY
    ${realm_root}README.md ${realm_root}CHANGELOG.md
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/realm COMPONENT doc)
# The documents and what they show, where their links find each other.
foreach(folder IN ITEMS guest ports ports/arena ports/atomics ports/baremetal ports/freertos ports/template examples-c realm-sys tests/bench)
  install(DIRECTORY ${realm_root}${folder}/ DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/realm/${folder} COMPONENT doc
    FILES_MATCHING
      PATTERN "*.md"
      REGEX "/(examples-c|ports/arena|ports/atomics|ports/baremetal|ports/freertos|ports/template)/.*\\.([chS]|cpp|gguf|wasm|ld|machine)$"
      REGEX "/ports/baremetal/build$"
      REGEX "/(src|target|cpu|posix|cmake|cargo|realm_run\\.c|realm_bench\\.c|realm_tokenize\\.c|(tool|chat)\\.[ch]|demo_model\\.c)$" EXCLUDE)
endforeach()

# The guest's source: others are built upon it, and like its examples.
install(DIRECTORY ${realm_root}guest/ DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/realm/guest COMPONENT doc
  USE_SOURCE_PERMISSIONS
  FILES_MATCHING
    PATTERN "*.rs" PATTERN "*.toml" PATTERN "Cargo.lock" PATTERN "build.sh"
    PATTERN "target" EXCLUDE)

# The model of guest/README.md that the built-in guest does not know.
install(FILES ${realm_root}tests/golden/arch/starcoder2.gguf
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/realm/tests/golden/arch COMPONENT doc)

# The installed examples are a project of their own.
set(realm_examples_dir ${CMAKE_INSTALL_DATADIR}/doc/realm/examples-c)
file(RELATIVE_PATH realm_prefix_from_examples
  ${CMAKE_INSTALL_PREFIX}/${realm_examples_dir} ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_CURRENT_LIST_DIR}/examples.cmake.in ${realm_generated}/CMakeLists.txt @ONLY)
install(FILES ${realm_generated}/CMakeLists.txt DESTINATION ${realm_examples_dir} COMPONENT doc)

# ---- the archive --------------------------------------------------------------------------------

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME realm)
set(CPACK_PACKAGE_VENDOR "the authors of Realm")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Language models inside a C or C++ program")
set(CPACK_RESOURCE_FILE_LICENSE ${realm_root}LICENSE-MIT)
string(TOLOWER "${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}" realm_system)
set(CPACK_PACKAGE_FILE_NAME realm-${PROJECT_VERSION}-${realm_system})
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
include(CPack)
