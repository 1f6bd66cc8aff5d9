
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
    struct rescale by = {0, 0, 0};
    int32_t step;
    if (s.residual) {
        by = *s.residual;
    }
    step = by.factor * ((int32_t)1 << by.shift);
    for (; count > 0; count -= 4) {
        const mve_pred16_t left = vctp32q((uint32_t)count);
        int32x4_t value = vaddq_s32(vldrwq_z_s32(sums, left), vldrwq_z_s32(bias, left));
        value = vrshlq_s32(value, vnegq_s32(vreinterpretq_s32_u32(vldrbq_z_u32(shift, left))));
        value = vrshrq_n_s32(vmulq_s32(saturated16x4(value), vldrhq_z_s32(factor, left)), 15);
        if (s.residual) {
            int32x4_t other = vreinterpretq_s32_u32(vldrbq_z_u32(residual, left));
            other = vmulq_n_s32(vsubq_n_s32(other, by.zero), step);
            value = saturated16x4(vaddq_s32(value, vrshrq_n_s32(other, 15)));
            residual += 4;
        }
        value = vshlq_r_s32(vaddq_n_s32(value, s.offset), 0 - (int32_t)s.fraction);
        value = vminq_s32(vmaxq_s32(value, low), high);
        vstrbq_p_u32(out, vreinterpretq_u32_s32(value), left);
        sums += 4;
        bias += 4;
        shift += 4;
        factor += 4;
        out += 4;
    }
}
