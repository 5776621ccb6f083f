/* The model, in read-only memory; MODEL is the file's name in quotes. Weights are used where they lie. */
    .section .model, "a"
    .balign 64
    .globl firmware_model, firmware_model_end
firmware_model:
    .incbin MODEL
firmware_model_end:
    .byte 0

#ifdef IMAGE
/* The image that is replayed, if one is; it is the firmware's own, as its code is. */
    .section .rodata.image, "a"
    .balign 4
    .globl firmware_image, firmware_image_end
firmware_image:
    .incbin IMAGE
firmware_image_end:
    .byte 0
#endif

    .section .note.GNU-stack, "", %progbits
