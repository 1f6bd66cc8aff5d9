
/* What two neighbouring windows see, pair by pair: the first in the lower half of each word, the second in the upper.
   Each tap is filled up to `padded` words, all together up to `length`. */
KERNEL void gather(const struct window *w, const uint8_t *in, const uint8_t *zeros, const int32_t at[4], int32_t inputs,
                   int32_t padded, int32_t length, uint32_t *pairs)
{
    uint32_t *end = pairs + length;
    int32_t row, column, i;
    for (row = 0; row < w->kernel[0]; row++) {
        for (column = 0; column < w->kernel[1]; column++) {
            const uint8_t *first = codes_at(w, in, zeros, at, row, column);
            const uint8_t *second = codes_at(w, in, zeros, at + 2, row, column);
            for (i = 0; i < inputs; i++) {
                pairs[i] = first[i] | (uint32_t)second[i] << 16;
            }
            for (; i < padded; i++) {
                pairs[i] = 0;
            }
            pairs += padded;
        }
    }
    while (pairs < end) {
        *pairs++ = 0;
    }
}
