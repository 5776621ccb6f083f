/* metal.metal - the kernels for Metal 3. It has not been compiled by Apple's compiler, nor run. */
#pragma clang fp contract(off)
#include "fused.h"
