/* The instructions of Helium that exported models use, in plain C, for tests on other machines. */

#ifndef ARM_MVE_H
#define ARM_MVE_H

#include <stdint.h>

/* A bit for every byte of a vector. */
typedef uint16_t mve_pred16_t;

typedef struct {
    uint8_t lane[16];
} uint8x16_t;
typedef struct {
    uint16_t lane[8];
} uint16x8_t;
typedef struct {
    int16_t lane[8];
} int16x8_t;
typedef struct {
    uint32_t lane[4];
} uint32x4_t;
typedef struct {
    int32_t lane[4];
} int32x4_t;
typedef struct {
    int32x4_t val[2];
} int32x4x2_t;

static inline mve_pred16_t first_bytes(uint32_t count)
{
    return (mve_pred16_t)(count < 16 ? (1u << count) - 1 : 0xffff);
}

static inline mve_pred16_t vctp8q(uint32_t count)
{
    return first_bytes(count);
}

static inline mve_pred16_t vctp16q(uint32_t count)
{
    return first_bytes(count < 8 ? 2 * count : 16);
}

#define ALL 0xffff
#define IS_ON(lane, bytes) (on >> ((bytes) * (lane)) & 1)

/* `result` is a vector whose lanes are `value`, of lane i. */
#define EACH(vector, lanes, value) \
    vector result; \
    int i; \
    for (i = 0; i < (lanes); i++) { \
        result.lane[i] = (value); \
    } \
    return result;

/* Loads, with zeros where lanes are off. */
#define LOAD(name, masked, vector, lanes, from) \
    static inline vector masked(const from *at, mve_pred16_t on) \
    { \
        EACH(vector, lanes, IS_ON(i, 16 / (lanes)) ? at[i] : 0) \
    } \
    static inline vector name(const from *at) \
    { \
        return masked(at, ALL); \
    }
LOAD(vldrbq_u8, vldrbq_z_u8, uint8x16_t, 16, uint8_t)
LOAD(vldrbq_u16, vldrbq_z_u16, uint16x8_t, 8, uint8_t)
LOAD(vldrbq_s16, vldrbq_z_s16, int16x8_t, 8, int8_t)
LOAD(vldrbq_u32, vldrbq_z_u32, uint32x4_t, 4, uint8_t)
LOAD(vldrhq_s32, vldrhq_z_s32, int32x4_t, 4, int16_t)
LOAD(vldrwq_s32, vldrwq_z_s32, int32x4_t, 4, int32_t)

static inline uint16x8_t vldrbq_gather_offset_z_u16(const uint8_t *at, uint16x8_t places, mve_pred16_t on)
{
    EACH(uint16x8_t, 8, IS_ON(i, 2) ? at[places.lane[i]] : 0)
}

static inline uint16x8_t vldrbq_gather_offset_u16(const uint8_t *at, uint16x8_t places)
{
    return vldrbq_gather_offset_z_u16(at, places, ALL);
}

static inline void vstrbq_p_u8(uint8_t *at, uint8x16_t from, mve_pred16_t on)
{
    int i;
    for (i = 0; i < 16; i++) {
        if (IS_ON(i, 1)) {
            at[i] = from.lane[i];
        }
    }
}

static inline void vstrbq_u8(uint8_t *at, uint8x16_t from)
{
    vstrbq_p_u8(at, from, ALL);
}

static inline void vstrbq_u32(uint8_t *at, uint32x4_t from)
{
    int i;
    for (i = 0; i < 4; i++) {
        at[i] = (uint8_t)from.lane[i];
    }
}

static inline void vstrwq_s32(int32_t *at, int32x4_t from)
{
    int i;
    for (i = 0; i < 4; i++) {
        at[i] = from.lane[i];
    }
}

static inline void vst2q_s32(int32_t *at, int32x4x2_t from)
{
    int i;
    for (i = 0; i < 8; i++) {
        at[i] = from.val[i % 2].lane[i / 2];
    }
}

#define DUPLICATE(name, vector, lanes, type) \
    static inline vector name(type value) \
    { \
        EACH(vector, lanes, value) \
    }
DUPLICATE(vdupq_n_u8, uint8x16_t, 16, uint8_t)
DUPLICATE(vdupq_n_u16, uint16x8_t, 8, uint16_t)
DUPLICATE(vdupq_n_u32, uint32x4_t, 4, uint32_t)
DUPLICATE(vdupq_n_s32, int32x4_t, 4, int32_t)

static inline uint16x8_t vidupq_n_u16(uint32_t first, int step)
{
    EACH(uint16x8_t, 8, (uint16_t)(first + (uint32_t)(i * step)))
}

static inline uint32x4_t vsetq_lane_u32(uint32_t value, uint32x4_t a, int lane)
{
    a.lane[lane] = value;
    return a;
}

/* Operations on lanes a and b, or on a and a number. */
#define BINARY(name, vector, lanes, value) \
    static inline vector name(vector a, vector b) \
    { \
        EACH(vector, lanes, value) \
    }
#define WITH_NUMBER(name, vector, lanes, type, value) \
    static inline vector name(vector a, type number) \
    { \
        EACH(vector, lanes, value) \
    }
#define A a.lane[i]
#define B b.lane[i]
#define UA ((uint32_t)a.lane[i])
#define UB ((uint32_t)b.lane[i])
BINARY(veorq_u8, uint8x16_t, 16, A ^ B)
BINARY(vandq_u8, uint8x16_t, 16, A & B)
BINARY(vandq_u16, uint16x8_t, 8, A & B)
BINARY(vmulq_s16, int16x8_t, 8, (int16_t)(A * B))
BINARY(vaddq_s32, int32x4_t, 4, (int32_t)(UA + UB))
BINARY(vaddq_u32, uint32x4_t, 4, A + B)
BINARY(vmulq_s32, int32x4_t, 4, (int32_t)(UA * UB))
BINARY(vmulq_u32, uint32x4_t, 4, A * B)
BINARY(vminq_s32, int32x4_t, 4, A < B ? A : B)
BINARY(vmaxq_s32, int32x4_t, 4, A > B ? A : B)
WITH_NUMBER(vshrq_n_u8, uint8x16_t, 16, int, (uint8_t)(A >> number))
WITH_NUMBER(vshlq_n_s16, int16x8_t, 8, int, (int16_t)((uint32_t)A << number))
WITH_NUMBER(vshrq_n_s16, int16x8_t, 8, int, (int16_t)(A >> number))
WITH_NUMBER(vsubq_n_s16, int16x8_t, 8, int16_t, (int16_t)(A - number))
WITH_NUMBER(vaddq_n_s32, int32x4_t, 4, int32_t, (int32_t)(UA + (uint32_t)number))
WITH_NUMBER(vsubq_n_s32, int32x4_t, 4, int32_t, (int32_t)(UA - (uint32_t)number))
WITH_NUMBER(vsubq_n_u32, uint32x4_t, 4, uint32_t, A - number)
WITH_NUMBER(vmulq_n_s32, int32x4_t, 4, int32_t, (int32_t)(UA * (uint32_t)number))

/* Left by a count, right by a negative one, rounded or not. */
static inline int32_t shifted(int32_t value, int32_t count, int rounded)
{
    if (count >= 0) {
        return (int32_t)((uint32_t)value << count);
    }
    return (int32_t)(((int64_t)value + (rounded ? (int64_t)1 << (-count - 1) : 0)) >> -count);
}
BINARY(vrshlq_s32, int32x4_t, 4, shifted(A, B, 1))
WITH_NUMBER(vrshrq_n_s32, int32x4_t, 4, int, shifted(A, -number, 1))
WITH_NUMBER(vshlq_r_s32, int32x4_t, 4, int32_t, shifted(A, number, 0))

static inline int32x4_t vnegq_s32(int32x4_t a)
{
    EACH(int32x4_t, 4, (int32_t)(0 - UA))
}

/* Neighbours, the even or the odd ones, multiplied to twice the width. */
static inline int32x4_t vmullbq_int_s16(int16x8_t a, int16x8_t b)
{
    EACH(int32x4_t, 4, a.lane[2 * i] * b.lane[2 * i])
}

static inline int32x4_t vmulltq_int_s16(int16x8_t a, int16x8_t b)
{
    EACH(int32x4_t, 4, a.lane[2 * i + 1] * b.lane[2 * i + 1])
}

static inline int16x8_t vreinterpretq_s16_u16(uint16x8_t a)
{
    EACH(int16x8_t, 8, (int16_t)A)
}

static inline int32x4_t vreinterpretq_s32_u32(uint32x4_t a)
{
    EACH(int32x4_t, 4, (int32_t)A)
}

static inline uint32x4_t vreinterpretq_u32_s32(int32x4_t a)
{
    EACH(uint32x4_t, 4, UA)
}

/* Sums over all lanes. */
static inline uint32_t vmladavaq_u8(uint32_t sum, uint8x16_t a, uint8x16_t b)
{
    int i;
    for (i = 0; i < 16; i++) {
        sum += UA * UB;
    }
    return sum;
}

static inline uint32_t vmladavq_u8(uint8x16_t a, uint8x16_t b)
{
    return vmladavaq_u8(0, a, b);
}

static inline uint32_t vaddvaq_u8(uint32_t sum, uint8x16_t a)
{
    return vmladavaq_u8(sum, a, vdupq_n_u8(1));
}

static inline int32_t vmladavaq_s16(int32_t sum, int16x8_t a, int16x8_t b)
{
    int i;
    for (i = 0; i < 8; i++) {
        sum = (int32_t)((uint32_t)sum + (uint32_t)(A * B));
    }
    return sum;
}

#undef A
#undef B
#undef UA
#undef UB
#undef ALL
#undef EACH
#undef LOAD
#undef BINARY
#undef IS_ON
#undef DUPLICATE
#undef WITH_NUMBER

#endif
