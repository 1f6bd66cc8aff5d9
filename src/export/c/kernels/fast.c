
/* The same numbers with the instructions of Arm's DSP extension (FGQ_DSP) or of Helium (FGQ_HELIUM), taken where the
   compiler may use these instructions. Defined as 0 they leave plain C. */
#ifndef FGQ_HELIUM
#if defined(__ARM_FEATURE_MVE) && !defined(__ARM_BIG_ENDIAN)
#define FGQ_HELIUM 1
#else
#define FGQ_HELIUM 0
#endif
#endif
#ifndef FGQ_DSP
#if defined(__ARM_FEATURE_DSP) && !defined(__ARM_BIG_ENDIAN)
#define FGQ_DSP 1
#else
#define FGQ_DSP 0
#endif
#endif
#if FGQ_DSP
#include <arm_acle.h>
#endif
#if FGQ_HELIUM
#include <arm_mve.h>
#endif

/* Functions that not every network uses. */
#ifdef __GNUC__
#define INLINE static inline __attribute__((unused))
#else
#define INLINE static inline
#endif

/* Keeps a number in a register, where the compiler would take it apart or put off what it is made of; keeps what is in
   memory there, where it would be copied to registers that do not exist. */
#ifdef __GNUC__
#define HOLD(value) __asm__ volatile("" : "+r"(value))
#define BARRIER __asm__ volatile("" : : : "memory")
#else
#define HOLD(value) (void)(value)
#define BARRIER (void)0
#endif

#if FGQ_DSP
/* Four bytes, wherever they lie. */
INLINE uint32_t word_at(const void *from)
{
    const uint8_t *byte = from;
    return byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 | (uint32_t)byte[3] << 24;
}

/* The second and fourth byte of a word as signed numbers of 16 bits. */
INLINE int32_t odd_bytes(uint32_t word)
{
#if defined(__GNUC__) && defined(__arm__)
    int32_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
    return halves;
#else
    return (int32_t)__sxtb16(__ror(word, 8));
#endif
}
#endif
