
/* What two neighbouring windows see, pair by pair: the first in the lower half of each word, the second in the upper.
   Rows of padding read `zeros`; each tap is filled up to `padded` words. */
KERNEL void gather(const struct window *w, const uint8_t *in, const uint8_t *zeros, const int32_t at[4], int32_t inputs,
                   int32_t padded, uint32_t *pairs)
{
    int32_t row, column, i;
    for (row = 0; row < w->kernel[0]; row++) {
        for (column = 0; column < w->kernel[1]; column++) {
            const uint8_t *first = tap_at(w, in, at[0], at[1], row, column);
            const uint8_t *second = tap_at(w, in, at[2], at[3], row, column);
            first = first ? first : zeros;
            second = second ? second : zeros;
            for (i = 0; i < inputs; i++) {
                pairs[i] = first[i] | (uint32_t)second[i] << 16;
            }
            for (; i < padded; i++) {
                pairs[i] = 0;
            }
            pairs += padded;
        }
    }
}
