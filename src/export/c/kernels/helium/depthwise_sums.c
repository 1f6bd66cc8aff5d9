
/* The sums of eight neighbouring outputs. */
KERNEL void eight_sums(const struct depthwise *d, const uint8_t *in, const int8_t *weights, const int32_t *places,
                       const int32_t *end, int32_t *sums)
{
    const int16_t zero = d->zero;
    int32x4x2_t both;
    both.val[0] = both.val[1] = vdupq_n_s32(0);
    for (; places < end; places += 2) {
        const int16x8_t codes = vsubq_n_s16(vreinterpretq_s16_u16(vldrbq_u16(in + places[0])), zero);
        const int16x8_t of_tap = vldrbq_s16(weights + places[1]);
        both.val[0] = vaddq_s32(both.val[0], vmullbq_int_s16(codes, of_tap));
        both.val[1] = vaddq_s32(both.val[1], vmulltq_int_s16(codes, of_tap));
    }
    vst2q_s32(sums, both);
}

static void depthwise_sums(const struct depthwise *d, const uint8_t *in, const int32_t *places, int32_t taps,
                           int32_t channel, int32_t count, int32_t *sums)
{
    int32_t i = 0;
    for (; d->multiplier == 1 && i + 8 <= count; i += 8) {
        eight_sums(d, in + channel + i, d->weights + channel + i, places, places + 2 * taps, sums + i);
    }
    plain_sums(d, in, places, taps, channel + i, count - i, sums + i);
}
