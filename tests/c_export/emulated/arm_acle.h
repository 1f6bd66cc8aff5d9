/* The instructions of Arm's DSP extension that exported models use, in plain C, for tests on other machines. */

#ifndef ARM_ACLE_H
#define ARM_ACLE_H

#include <stdint.h>

static inline int32_t half(uint32_t word, int upper)
{
    const int32_t bits = (int32_t)(upper ? word >> 16 : word & 0xffff);
    return bits < 0x8000 ? bits : bits - 0x10000;
}

static inline uint32_t halves(int32_t lower, int32_t upper)
{
    return ((uint32_t)lower & 0xffff) | (uint32_t)upper << 16;
}

static inline int32_t added(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline uint32_t __ror(uint32_t word, uint32_t count)
{
    return word >> count | word << (32 - count);
}

static inline int32_t __sxtb16(uint32_t word)
{
    return (int32_t)halves((int8_t)(word & 0xff), (int8_t)(word >> 16 & 0xff));
}

static inline uint32_t __usub16(uint32_t a, uint32_t b)
{
    return halves(half(a, 0) - half(b, 0), half(a, 1) - half(b, 1));
}

static inline int32_t __smlabb(int32_t a, int32_t b, int32_t sum)
{
    return added(sum, half((uint32_t)a, 0) * half((uint32_t)b, 0));
}

static inline int32_t __smlatb(int32_t a, int32_t b, int32_t sum)
{
    return added(sum, half((uint32_t)a, 1) * half((uint32_t)b, 0));
}

static inline int32_t __smlatt(int32_t a, int32_t b, int32_t sum)
{
    return added(sum, half((uint32_t)a, 1) * half((uint32_t)b, 1));
}

static inline int32_t __smlad(int32_t a, int32_t b, int32_t sum)
{
    return __smlatt(a, b, __smlabb(a, b, sum));
}

static inline int32_t __smuad(int32_t a, int32_t b)
{
    return __smlad(a, b, 0);
}

static inline int32_t __ssat(int32_t value, int bits)
{
    const int32_t most = (int32_t)((1u << (bits - 1)) - 1);
    return value > most ? most : value < -most - 1 ? -most - 1 : value;
}

#endif
