
/* Copies codes and fills them up with zeros to `padded`. */
static inline uint8_t *copy_codes(const uint8_t *from, int32_t count, int32_t padded, uint8_t *out)
{
    uint8_t *end = out + padded;
    for (; count >= 16; count -= 16, padded -= 16) {
        vstrbq_u8(out, vldrbq_u8(from));
        from += 16;
        out += 16;
    }
    if (padded > 0) {
        vstrbq_p_u8(out, vldrbq_z_u8(from, vctp8q((uint32_t)count)), vctp8q((uint32_t)padded));
    }
    return end;
}

/* What a window sees; taps are filled up to `padded`, all together up to `length`. Taps that lie side by side in the
   image are copied together. */
KERNEL void gather_codes(const struct window *w, const uint8_t *in, const uint8_t *zeros, const int32_t at[2],
                         int32_t inputs, int32_t padded, int32_t length, uint8_t *out)
{
    const uint8_t *end = out + length;
    const int32_t left = at[1] * w->stride[1] - w->left, taps = w->kernel[1];
    const int32_t inside = left >= 0 && left + taps <= w->width;
    const int32_t together = inside && padded == w->channels && w->dilation[1] == 1;
    int32_t row, column;
    for (row = 0; row < w->kernel[0]; row++) {
        const uint8_t *codes = together ? tap_at(w, in, at[0], at[1], row, 0) : 0;
        if (codes) {
            out = copy_codes(codes, taps * inputs, taps * inputs, out);
            continue;
        }
        for (column = 0; column < taps; column++) {
            out = copy_codes(codes_at(w, in, zeros, at, row, column), inputs, padded, out);
        }
    }
    while (out < end) {
        *out++ = 0;
    }
}

/* The sum of neighbouring codes. */
static inline uint32_t sum_of_codes(const uint8_t *codes, int32_t count)
{
    uint32_t sum = 0;
    for (; count >= 16; count -= 16, codes += 16) {
        sum = vaddvaq_u8(sum, vldrbq_u8(codes));
    }
    if (count > 0) {
        sum = vaddvaq_u8(sum, vldrbq_z_u8(codes, vctp8q((uint32_t)count)));
    }
    return sum;
}
