/* Runs an exported model without an operating system under qemu: prints the logits of every input of inputs.h by
   semihosting, and how many instructions the last input took. */

#include "inputs.h"
#include "model.h"
#include <stddef.h>

static uint32_t arena[MODEL_ARENA_WORDS];

int main(void);

#ifdef __arm__
extern char stack_top[];
void start(void);
__attribute__((section(".vectors"), used)) static void *const vectors[2] = {stack_top, (void *)start};

static int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

/* SysTick runs at the machine's clock; four ticks are so many instructions of a nanosecond each (-icount shift=0). */
#ifndef PER_4_TICKS
#define PER_4_TICKS 160
#endif
#define SYSTICK ((volatile uint32_t *)0xe000e010)
#define COPROCESSORS (*(volatile uint32_t *)0xe000ed88)
static uint32_t ticks(void)
{
    return 0xffffff - SYSTICK[2];
}

static void start_clock(void)
{
    SYSTICK[1] = 0xffffff;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5;
}

/* Vector registers are off at first. */
void start(void)
{
    COPROCESSORS |= 0xf << 20;
    __asm__ volatile("dsb\nisb");
    main();
}
#else
__asm__(".section .vectors, \"ax\"\n.globl start\nstart: la sp, stack_top\ncall main\n1: j 1b\n.text\n");

static int semihosting(int operation, const void *argument)
{
    register long a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(".option push\n.option norvc\nslli zero, zero, 0x1f\nebreak\nsrai zero, zero, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return (int)a0;
}

/* What the compiler makes of loops; there is no library. Volatile, so that it makes no call of these. */
void *memset(void *to, int value, size_t count);
void *memset(void *to, int value, size_t count)
{
    volatile unsigned char *at = to;
    while (count--) {
        *at++ = (unsigned char)value;
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t count);
void *memcpy(void *to, const void *from, size_t count)
{
    volatile unsigned char *at = to;
    const unsigned char *source = from;
    while (count--) {
        *at++ = *source++;
    }
    return to;
}

/* The machine's clock runs at 10 MHz. */
#define PER_4_TICKS 400
static void start_clock(void)
{
}

static uint32_t ticks(void)
{
    return *(volatile uint32_t *)0x0200bff8;
}
#endif

static void print(long number, char after)
{
    char text[16], *at = text + sizeof text;
    unsigned long rest = number < 0 ? 0ul - (unsigned long)number : (unsigned long)number;
    *--at = 0;
    *--at = after;
    do {
        *--at = (char)('0' + rest % 10);
    } while (rest /= 10);
    if (number < 0) {
        *--at = '-';
    }
    semihosting(4, at);
}

int main(void)
{
    static const uint32_t done[2] = {0x20026, 0};
    int32_t logits[MODEL_CLASSES];
    uint32_t before = 0, after = 0;
    int input, i;
    for (input = 0; input < INPUTS; input++) {
        start_clock();
        before = ticks();
        model_run(inputs + input * MODEL_INPUT_BYTES, logits, arena);
        after = ticks();
        for (i = 0; i < MODEL_CLASSES; i++) {
            print(logits[i], i + 1 < MODEL_CLASSES ? ' ' : '\n');
        }
    }
    semihosting(4, "instructions ");
    after = (after - before) & 0xffffff;
    print((long)(after / 4 * PER_4_TICKS + after % 4 * PER_4_TICKS / 4), '\n');
#ifdef __arm__
    semihosting(0x18, (const void *)0x20026);
#endif
    semihosting(0x18, done);
    return 0;
}
