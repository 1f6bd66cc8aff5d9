
/* The codes of neighbouring channels from `first` on. The copies spare the compiler to think that codes written may be
   parts of them. */
KERNEL void store_codes(const struct store *from, int32_t first, int32_t count, const int32_t *sums,
                        const uint8_t *residual, uint8_t *out)
{
    const struct store s = *from;
    const int32_t *bias = s.bias + first;
    const int16_t *factor = s.factor + first;
    const uint8_t *shift = s.shift + first;
    const uint8_t *end = out + count;
    if (!s.residual) {
        while (out < end) {
            const int32_t value = requantized(*sums++ + *bias++, *shift++, *factor++);
            *out++ = code_of(value, s.offset, s.fraction, s.low, s.high);
        }
    } else {
        const struct rescale by = *s.residual;
        while (out < end) {
            const int32_t value = requantized(*sums++ + *bias++, *shift++, *factor++);
            const int32_t sum = saturated16(value + rescaled(*residual++, &by));
            *out++ = code_of(sum, s.offset, s.fraction, s.low, s.high);
        }
    }
}
