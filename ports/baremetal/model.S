/* The model, in read-only memory; MODEL is the file's name in quotes. Weights are used where they lie. */
    .section .model, "a"
    .balign 64
    .globl firmware_model, firmware_model_end
firmware_model:
    .incbin MODEL
firmware_model_end:
    .byte 0

    .section .note.GNU-stack, "", %progbits
