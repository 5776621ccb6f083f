# Builds for 64-bit Windows on another system, with MinGW-w64 and Rust's x86_64-pc-windows-gnu; programs are run by Wine.
#
#   cmake -S . -B build-windows -DCMAKE_TOOLCHAIN_FILE=ports/cmake/mingw-w64.cmake -DCMAKE_BUILD_TYPE=Release
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
# Debian has two, whose names end in their threads; with -win32 there is no std::thread.
find_program(REALM_MINGW_C NAMES x86_64-w64-mingw32-gcc-posix x86_64-w64-mingw32-gcc REQUIRED)
find_program(REALM_MINGW_CXX NAMES x86_64-w64-mingw32-g++-posix x86_64-w64-mingw32-g++ REQUIRED)
set(CMAKE_C_COMPILER ${REALM_MINGW_C})
set(CMAKE_CXX_COMPILER ${REALM_MINGW_CXX})
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
