
/* Copies codes and fills them up with zeros to `padded`. */
static inline uint8_t *copy_codes(const uint8_t *from, int32_t count, int32_t padded, uint8_t *out)
{
    uint8_t *end = out + padded;
    for (; padded > 0; padded -= 16, count -= 16) {
        const mve_pred16_t left = count > 0 ? vctp8q((uint32_t)count) : 0;
        vstrbq_p_u8(out, vldrbq_z_u8(from, left), vctp8q((uint32_t)padded));
        from += 16;
        out += 16;
    }
    return end;
}

/* What a window sees; taps are filled up to `padded`, all together up to `length`. */
KERNEL void gather_codes(const struct window *w, const uint8_t *in, const uint8_t *zeros, const int32_t at[2],
                         int32_t inputs, int32_t padded, int32_t length, uint8_t *out)
{
    const uint8_t *end = out + length;
    int32_t row, column;
    for (row = 0; row < w->kernel[0]; row++) {
        for (column = 0; column < w->kernel[1]; column++) {
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
    for (; count > 0; count -= 16, codes += 16) {
        sum = vaddvaq_u8(sum, vldrbq_z_u8(codes, vctp8q((uint32_t)count)));
    }
    return sum;
}
