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
# Rust's name of the system to build for; its own by default, and found for the usual cross compilations.
set(realm_target "")
if(CMAKE_CROSSCOMPILING AND MINGW)
  set(realm_target ${CMAKE_SYSTEM_PROCESSOR}-pc-windows-gnu)
elseif(CMAKE_CROSSCOMPILING AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
  execute_process(COMMAND ${CMAKE_C_COMPILER} -dumpmachine
    OUTPUT_VARIABLE realm_machine OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(realm_machine MATCHES "^(x86_64|aarch64|s390x)-.*linux-(gnu|musl)$")
    set(realm_target ${CMAKE_MATCH_1}-unknown-linux-${CMAKE_MATCH_2})
  endif()
endif()
set(REALM_CARGO_TARGET "${realm_target}" CACHE STRING "cargo's --target; empty: the building machine")
if(CMAKE_CROSSCOMPILING AND NOT REALM_CARGO_TARGET)
  message(FATAL_ERROR "what Rust calls ${CMAKE_SYSTEM_NAME} on ${CMAKE_SYSTEM_PROCESSOR} has to be said: "
    "-DREALM_CARGO_TARGET=NAME with a NAME of 'rustc --print target-list', for example armv7-unknown-linux-gnueabihf")
endif()
set(realm_out ${REALM_CARGO_TARGET_DIR}/${REALM_CARGO_TARGET}/${REALM_CARGO_PROFILE})
if(REALM_CARGO_PROFILE STREQUAL "dev")
  set(realm_out ${REALM_CARGO_TARGET_DIR}/${REALM_CARGO_TARGET}/debug)
endif()
cmake_path(NORMAL_PATH realm_out)

set(realm_static ${realm_out}/${CMAKE_STATIC_LIBRARY_PREFIX}realm${CMAKE_STATIC_LIBRARY_SUFFIX})
set(realm_shared ${realm_out}/${CMAKE_SHARED_LIBRARY_PREFIX}realm${CMAKE_SHARED_LIBRARY_SUFFIX})
if(MINGW) # which CMake would give a "lib" in front
  set(realm_shared ${realm_out}/realm.dll)
  set(realm_import ${realm_out}/librealm.dll.a)
endif()

# What the loader looks for, as set in realm-sys/artifact/build.rs, and the file's name when installed.
if(APPLE)
  set(realm_shared_name librealm.${PROJECT_VERSION_MAJOR}.dylib)
  set(realm_shared_file librealm.${PROJECT_VERSION}.dylib)
  set(realm_soname @rpath/${realm_shared_name})
elseif(MINGW)
  set(realm_shared_file realm.dll)
else()
  set(realm_shared_name librealm.so.${PROJECT_VERSION_MAJOR})
  set(realm_shared_file librealm.so.${PROJECT_VERSION})
  set(realm_soname ${realm_shared_name})
endif()

# What can be left out is in README.md.
set(REALM_CARGO_FEATURES "" CACHE STRING "What is in the library besides the core, with commas between; empty: everything")
set(realm_features "")
if(REALM_CARGO_FEATURES)
  set(realm_features --no-default-features --features hosted,${REALM_CARGO_FEATURES})
endif()
option(REALM_CUDA "Have NVIDIA's GPUs in the library (realm_cuda.h, ports/gpu/README.md)" OFF)
if(REALM_CUDA)
  list(APPEND realm_features --features cuda)
endif()
option(REALM_METAL "Have Apple's GPUs in the library (realm_metal.h, ports/gpu/README.md)" OFF)
if(REALM_METAL)
  list(APPEND realm_features --features metal)
endif()

# Ninja's "console" pool shows cargo's own progress and keeps other steps from mixing into it.
add_custom_target(realm_cargo ALL
  COMMAND ${CMAKE_COMMAND} -E env CARGO_TARGET_DIR=${REALM_CARGO_TARGET_DIR}
          ${REALM_CARGO} build --package realm --profile ${REALM_CARGO_PROFILE} --locked
          "$<$<BOOL:${REALM_CARGO_TARGET}>:--target=${REALM_CARGO_TARGET}>" ${realm_features}
  WORKING_DIRECTORY ${realm_root}
  BYPRODUCTS ${realm_static} ${realm_shared} ${realm_import}
  COMMENT "cargo build --package realm"
  USES_TERMINAL VERBATIM COMMAND_EXPAND_LISTS)

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
if(MINGW)
  set(realm_static_needs kernel32 ntdll userenv ws2_32 dbghelp)
endif()
if(UNIX AND NOT APPLE) # a shared library that it is linked into shows none of it
  list(APPEND realm_static_needs -Wl,--exclude-libs,librealm.a)
endif()
if(REALM_METAL AND APPLE)
  list(APPEND realm_static_needs "-framework Metal" "-framework Foundation" "-framework CoreGraphics" objc)
endif()
realm_imported(static STATIC ${realm_static})
set_property(TARGET realm_static PROPERTY INTERFACE_LINK_LIBRARIES ${realm_static_needs})

realm_imported(shared SHARED ${realm_shared})
if(MINGW)
  set_property(TARGET realm_shared PROPERTY IMPORTED_IMPLIB ${realm_import})
else()
  set_property(TARGET realm_shared PROPERTY IMPORTED_SONAME ${realm_soname})
endif()

# For who does not care which: CMake's own switch decides, as in ports/cmake/realm-config.cmake.in.
if(BUILD_SHARED_LIBS)
  add_library(realm::realm ALIAS realm_shared)
else()
  add_library(realm::realm ALIAS realm_static)
endif()

# Libraries that have realm_cuda.h's functions, for who needs them: nothing else has to be linked.
if(REALM_CUDA)
  add_library(realm_cuda INTERFACE)
  target_link_libraries(realm_cuda INTERFACE realm::realm)
  add_library(realm::cuda ALIAS realm_cuda)
endif()
# The same for realm_metal.h's.
if(REALM_METAL)
  add_library(realm_metal INTERFACE)
  target_link_libraries(realm_metal INTERFACE realm::realm)
  add_library(realm::metal ALIAS realm_metal)
endif()
