# Builds for 64-bit Windows on another system, with MinGW-w64 and Rust's x86_64-pc-windows-gnu; programs are run by Wine.
#
#   cmake -S . -B build-windows -DCMAKE_TOOLCHAIN_FILE=ports/cmake/mingw-w64.cmake -DCMAKE_BUILD_TYPE=Release
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
# Programs that need none of the compiler's own libraries beside them.
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
find_program(REALM_WINE NAMES wine wine64)
if(REALM_WINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${REALM_WINE})
endif()
set(CMAKE_FIND_ROOT_PATH /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
