
static inline int32x4_t saturated16x4(int32x4_t value)
{
    return vminq_s32(vmaxq_s32(value, vdupq_n_s32(-32767 - 1)), vdupq_n_s32(32767));
}

/* The codes of neighbouring channels from `first` on, four at once. */
KERNEL void store_codes(const struct store *from, int32_t first, int32_t count, const int32_t *sums,
                        const uint8_t *residual, uint8_t *out)
{
    const struct store s = *from;
    const int32_t *bias = s.bias + first;
    const int16_t *factor = s.factor + first;
    const uint8_t *shift = s.shift + first;
    const int32x4_t low = vdupq_n_s32(s.low), high = vdupq_n_s32(s.high);
    const struct rescale none = {0, 0, 0}, by = s.residual ? *s.residual : none;
    const int32_t step = by.factor * ((int32_t)1 << by.shift);
    for (; count >= 4; count -= 4) {
        const int32x4_t places = vreinterpretq_s32_u32(vldrbq_u32(shift));
        int32x4_t value = vrshlq_s32(vaddq_s32(vldrwq_s32(sums), vldrwq_s32(bias)), vnegq_s32(places));
        value = vrshrq_n_s32(vmulq_s32(saturated16x4(value), vldrhq_s32(factor)), 15);
        if (s.residual) {
            const int32x4_t other = vsubq_n_s32(vreinterpretq_s32_u32(vldrbq_u32(residual)), by.zero);
            value = saturated16x4(vaddq_s32(value, vrshrq_n_s32(vmulq_n_s32(other, step), 15)));
            residual += 4;
        }
        value = vshlq_r_s32(vaddq_n_s32(value, s.offset), 0 - (int32_t)s.fraction);
        vstrbq_u32(out, vreinterpretq_u32_s32(vminq_s32(vmaxq_s32(value, low), high)));
        sums += 4;
        bias += 4;
        shift += 4;
        factor += 4;
        out += 4;
    }
    for (; count > 0; count--) {
        int32_t value = requantized(*sums++ + *bias++, *shift++, *factor++);
        if (s.residual) {
            value = saturated16(value + rescaled(*residual++, &by));
        }
        *out++ = code_of(value, s.offset, s.fraction, s.low, s.high);
    }
}
