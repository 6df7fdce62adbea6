# The firmware of a small machine, and all that it runs: adds up numbers in memory, prints a line to the debug console
# (port 0xe9), and ends the machine through isa-debug-exit (port 0xf4), whose status tells whether the sum was right.
# 64 KiB that end at 4 GiB; the processor begins 16 bytes before the end, in 16-bit mode.
        .code16
start:  xor %ax, %ax
        mov %ax, %ds
        mov $text - start, %si
1:      cs lodsb
        test %al, %al
        jz 2f
        outb %al, $0xe9
        jmp 1b
2:      movw $0, 0x1000
        mov $100, %cx
3:      add %cx, 0x1000
        loop 3b
        cmpw $5050, 0x1000
        mov $0x10, %al
        je 4f
        mov $0x11, %al
4:      outb %al, $0xf4
5:      hlt
        jmp 5b
text:   .asciz "booted\n"
        .org 0xfff0
        .byte 0xe9              # jmp start
        .word start - . - 2
        .org 0x10000
