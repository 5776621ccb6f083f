# realm::static, realm::shared and realm::realm, built by cargo.
#
# cargo decides for itself what is out of date, so it is asked on every build; it answers in a
# fraction of a second when there is nothing to do.

find_program(REALM_CARGO cargo HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin REQUIRED)
find_package(Threads REQUIRED)

set(realm_root ${CMAKE_CURRENT_LIST_DIR}/../..)
cmake_path(NORMAL_PATH realm_root)
# The workspace's own target directory by default: cargo builds made by hand are reused.
set(REALM_CARGO_TARGET_DIR ${realm_root}target CACHE PATH "cargo's target directory")
if(REALM_CARGO_PROFILE STREQUAL "dev")
  set(realm_out ${REALM_CARGO_TARGET_DIR}/debug)
else()
  set(realm_out ${REALM_CARGO_TARGET_DIR}/${REALM_CARGO_PROFILE})
endif()

set(realm_static ${realm_out}/${CMAKE_STATIC_LIBRARY_PREFIX}realm${CMAKE_STATIC_LIBRARY_SUFFIX})
set(realm_shared ${realm_out}/${CMAKE_SHARED_LIBRARY_PREFIX}realm${CMAKE_SHARED_LIBRARY_SUFFIX})

# What the loader looks for, as set in realm-sys/artifact/build.rs, and the file's name when installed.
if(APPLE)
  set(realm_shared_name librealm.${PROJECT_VERSION_MAJOR}.dylib)
  set(realm_shared_file librealm.${PROJECT_VERSION}.dylib)
  set(realm_soname @rpath/${realm_shared_name})
else()
  set(realm_shared_name librealm.so.${PROJECT_VERSION_MAJOR})
  set(realm_shared_file librealm.so.${PROJECT_VERSION})
  set(realm_soname ${realm_shared_name})
endif()

# Ninja's "console" pool shows cargo's own progress and keeps other steps from mixing into it.
add_custom_target(realm_cargo ALL
  COMMAND ${CMAKE_COMMAND} -E env CARGO_TARGET_DIR=${REALM_CARGO_TARGET_DIR}
          ${REALM_CARGO} build --package realm --profile ${REALM_CARGO_PROFILE} --locked
  WORKING_DIRECTORY ${realm_root}
  BYPRODUCTS ${realm_static} ${realm_shared}
  COMMENT "cargo build --package realm"
  USES_TERMINAL VERBATIM)

function(realm_imported name kind file)
  add_library(realm_${name} ${kind} IMPORTED GLOBAL)
  set_target_properties(realm_${name} PROPERTIES
    IMPORTED_LOCATION ${file}
    IMPORTED_LINK_INTERFACE_LANGUAGES C
    INTERFACE_INCLUDE_DIRECTORIES ${realm_root}include)
  add_dependencies(realm_${name} realm_cargo)
  add_library(realm::${name} ALIAS realm_${name})
endfunction()

# What Rust's standard library needs; `cargo rustc -p realm -- --print native-static-libs` lists it.
set(realm_static_needs Threads::Threads ${CMAKE_DL_LIBS} m)
realm_imported(static STATIC ${realm_static})
set_property(TARGET realm_static PROPERTY INTERFACE_LINK_LIBRARIES ${realm_static_needs})

realm_imported(shared SHARED ${realm_shared})
set_property(TARGET realm_shared PROPERTY IMPORTED_SONAME ${realm_soname})

# For who does not care which: CMake's own switch decides, as in ports/cmake/realm-config.cmake.in.
if(BUILD_SHARED_LIBS)
  add_library(realm::realm ALIAS realm_shared)
else()
  add_library(realm::realm ALIAS realm_static)
endif()
