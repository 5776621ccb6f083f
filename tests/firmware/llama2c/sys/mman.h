/* mman.h - what llama2.c includes and firmware has none of. Nothing of it is called: the checkpoint is in read-only memory. */
#ifndef MMAN_H
#define MMAN_H

#define PROT_READ 1
#define MAP_PRIVATE 2
#define MAP_FAILED ((void *)-1)
#define mmap(address, bytes, protection, flags, file, offset) MAP_FAILED
#define munmap(address, bytes) 0

#endif /* MMAN_H */
