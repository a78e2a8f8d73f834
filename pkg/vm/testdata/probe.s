# The guest with which dibber asks whether KVM runs real guests: one boot sector
# that does in a moment what every kernel does first. It turns on paging and long
# mode, loads an interrupt table, takes timer interrupts out of hlt, asks cpuid,
# reads and writes a model-specific register, uses SSE2, reloads its page table,
# and then counts long enough that a processor which is interpreted instruction by
# instruction cannot finish in time. Only after all of that does it write its token to COM1.
#
#   as --64 probe.s -o probe.o
#   ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary probe.o -o probe.img

        .set    PML4, 0x1000            # page tables: 0x1000 to 0x3fff
        .set    PDPT, 0x2000
        .set    PD,   0x3000
        .set    IDT,  0x4000            # 256 gates of 16 bytes
        .set    TICKS, 0x6000           # counted by the timer's handler

        .code16
        .globl  _start
_start: cli
        cld
        ljmp    $0, $1f                 # some firmware starts at 07c0:0000
1:      xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp

        movw    $PML4, %di              # clear the tables and the counter
        movw    $0x2c00, %cx            # words: 0x1000 to 0x67ff
        rep stosw
        movw    $PDPT + 3, PML4
        movw    $PD + 3, PDPT
        movw    $0x83, PD               # 0 to 2 MiB, one large page
        movl    $0x200083, PD + 8       # 2 to 4 MiB

        movw    $gdtr, %bx
        lgdtl   (%bx)
        movl    $0x620, %eax            # PAE, SSE
        movl    %eax, %cr4
        movl    $PML4, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       # EFER
        rdmsr
        orw     $0x100, %ax             # long mode
        wrmsr
        movl    $0x80000033, %eax       # paging, numeric errors, monitor, protection
        movl    %eax, %cr0
        ljmp    $8, $long

        .code64
long:   movl    $16, %eax
        movl    %eax, %ss
        movl    %eax, %ds
        movl    %eax, %es

        # Vector 0x20 is the timer; no other interrupt is let through.
        movl    $IDT + 0x200, %edi
        movl    $tick, %eax
        movw    %ax, (%rdi)
        movl    $0x8e000008, 2(%rdi)
        lidt    idtr
        movl    $icw, %esi
        movb    $0x11, %al
        outb    %al, $0x20              # initialise the interrupt controllers
        outb    %al, $0xa0
        lodsb
        outb    %al, $0x21              # vectors 0x20 and 0x28
        lodsb
        outb    %al, $0xa1
        lodsb
        outb    %al, $0x21              # the second hangs on line 2
        lodsb
        outb    %al, $0xa1
        lodsb
        outb    %al, $0x21              # 8086 mode
        outb    %al, $0xa1
        lodsb
        outb    %al, $0x21              # only the timer
        movb    $0xff, %al
        outb    %al, $0xa1
        movb    $0x34, %al
        outb    %al, $0x43              # channel 0 every 1193 clocks: 1000 a second
        movb    $0xa9, %al
        outb    %al, $0x40
        movb    $0x04, %al
        outb    %al, $0x40

        sti
1:      hlt
        cmpl    $20, TICKS
        jb      1b

        # A few thousand rounds of what traps or walks page tables.
        movl    $2000, %ebp
1:      xorl    %eax, %eax
        cpuid
        movl    $0xc0000080, %ecx
        rdmsr
        wrmsr
        movq    %cr3, %rax
        movq    %rax, %cr3
        xorb    $0x20, PD + 8           # flip the accessed bit, look it up anew
        invlpg  0x200000
        incl    0x200000
        decl    %ebp
        jnz     1b

        # The count, through memory and through SSE2 registers.
        movl    $20000000, %ecx
        pxor    %xmm0, %xmm0
        pcmpeqd %xmm1, %xmm1
1:      psubd   %xmm1, %xmm0
        incl    0x200000
        decl    %ecx
        jnz     1b
        movd    %xmm0, %eax
        cmpl    $20000000, %eax
        jne     2f

        movl    $token, %esi
        movl    $0x3f8, %edx            # COM1
1:      lodsb
        outb    %al, %dx
        testb   %al, %al
        jnz     1b
2:      hlt
        jmp     2b

tick:   pushq   %rax
        incl    TICKS
        movb    $0x20, %al
        outb    %al, $0x20              # end of interrupt
        popq    %rax
        iretq

icw:    .byte   0x20, 0x28, 0x04, 0x02, 0x01, 0xfe
token:  .asciz  "dibber: the guest runs\r\n"
        .balign 8
gdt:    .quad   0
        .quad   0x00209a0000000000      # 8: code, 64 bits
        .quad   0x0000920000000000      # 16: data
gdtr:   .word   23
        .long   gdt
idtr:   .word   0xfff
        .quad   IDT

        .org    510
        .word   0xaa55
