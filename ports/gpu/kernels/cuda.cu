/* cuda.cu - the kernels for CUDA: by nvcc into a fatbin, or flattened into one text and compiled by NVRTC. */
#include "program.h"
