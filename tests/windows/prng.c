/* prng.c - the one function of bcryptprimitives.dll that Rust's standard library wants (for its own hash tables) and older
 * Wine does not have. Only for the tests: Windows has it. */
#include <stddef.h>

int SystemFunction036(void *data, unsigned long bytes); /* RtlGenRandom, of advapi32 */
__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *data, size_t bytes);

int __stdcall ProcessPrng(unsigned char *data, size_t bytes) { return SystemFunction036(data, (unsigned long)bytes); }
