/* demo_model.c - the demo model as bytes of the program: a model needs no file.
 *
 * The build defines REALM_DEMO_GGUF as the quoted path of demo/realm-demo.gguf. The library borrows
 * the bytes where the linker put them, as firmware would borrow them from flash.
 */
#include "tool.h"

#ifdef REALM_DEMO_GGUF

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define SYMBOL(name) TEXT(__USER_LABEL_PREFIX__) name

#ifdef __APPLE__
#define SECTION ".const_data\n"
#else
#define SECTION ".section .rodata\n"
#endif

__asm__(SECTION
        ".balign 64\n"
        ".globl " SYMBOL("realm_demo_gguf") "\n"
        SYMBOL("realm_demo_gguf") ":\n"
        ".incbin \"" REALM_DEMO_GGUF "\"\n"
        ".globl " SYMBOL("realm_demo_gguf_end") "\n"
        SYMBOL("realm_demo_gguf_end") ":\n"
        ".byte 0\n"
        ".text\n");

extern const unsigned char realm_demo_gguf[], realm_demo_gguf_end[];

realm_bytes tool_demo_model(void) {
    realm_bytes bytes;
    bytes.data = realm_demo_gguf;
    bytes.bytes = (size_t)(realm_demo_gguf_end - realm_demo_gguf);
    return bytes;
}

#else

realm_bytes tool_demo_model(void) {
    realm_bytes bytes = {NULL, 0};
    return bytes;
}

#endif
